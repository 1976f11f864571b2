//! Where the bucket is.

use layered_config::{HumanDuration, Report, Secret, Validate};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the bucket is, and how long to wait for it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectsConfig {
    /// Address of the S3 server, such as `http://127.0.0.1:9000`; empty for Amazon's own in `region`.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Id of the access key.
    pub access_key: String,
    /// The access key's secret.
    pub secret_key: Secret,
    /// Address the bucket in the path (`/bucket/key`) rather than as a host name.
    pub path_style: bool,
    /// The longest one attempt may take.
    pub attempt_timeout: HumanDuration,
    /// The longest an operation may take, all attempts together.
    pub operation_timeout: HumanDuration,
    /// Attempts at one operation, the first included.
    pub attempts: u32,
}

impl Default for ObjectsConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            bucket: "mini-lambda".to_owned(),
            access_key: String::new(),
            secret_key: Secret::default(),
            path_style: true,
            attempt_timeout: HumanDuration::from_secs(5),
            operation_timeout: HumanDuration::from_secs(15),
            attempts: 3,
        }
    }
}

impl Validate for ObjectsConfig {
    fn validate(&self, report: &mut Report) {
        let http = self.endpoint.starts_with("http://") || self.endpoint.starts_with("https://");
        if !self.endpoint.is_empty() && !http {
            report.problem("endpoint", "it is not an HTTP address", "write one such as \"http://127.0.0.1:9000\"");
        }
        for (key, empty) in [
            ("region", self.region.is_empty()),
            ("bucket", self.bucket.is_empty()),
            ("access_key", self.access_key.is_empty()),
            ("secret_key", self.secret_key.is_empty()),
        ] {
            if empty {
                report.problem(key, "it is empty", "write what the S3 server's operator gave you");
            }
        }
        if self.attempts == 0 {
            report.problem("attempts", "nothing would ever be tried", "write 1 or more");
        }
    }
}
