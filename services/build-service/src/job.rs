//! A build as the service knows it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{BuildFailure, BuildState, BuiltFunction, FunctionId, JobId, contract::FunctionSettings};
use function_package::Digest;
use layered_config::Secret;
use telemetry::TraceContext;
use uuid::Uuid;

/// What a build is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A ZIP archive, which is checked, unpacked and packed again.
    Archive,
    /// A ZIP archive with a Dockerfile, which is built into an image.
    Image,
    /// One file of source text, which is its own artifact: a master registers it, and no worker is needed.
    Source,
}

impl Kind {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Image => "image",
            Self::Source => "source",
        }
    }

    /// The object that holds an artifact of this digest; `None` when it is not a digest.
    #[must_use]
    pub fn artifact_key(self, digest: &str) -> Option<String> {
        match self {
            Self::Archive => digest.parse::<Digest>().ok().map(|digest| digest.object_key()),
            Self::Image => Some(domain::image_key(digest)),
            Self::Source => Some(digest.to_owned()),
        }
    }
}

/// A package that is in the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What it is.
    pub kind: Kind,
    /// BLAKE3 of it, in hex.
    pub digest: String,
    /// The object that holds it.
    pub object_key: String,
    /// Its size.
    pub bytes: u64,
    /// How many files are in it.
    pub files: u64,
    /// The size of all of them, unpacked.
    pub unpacked_bytes: u64,
}

/// Where the client wants to hear of its build.
#[derive(Debug, Clone)]
pub struct ClientWebhook {
    /// The address, checked for its form; where it leads is checked whenever it is used.
    pub url: String,
    /// What signs messages to it; the configured secret does where there is none.
    pub secret: Option<Secret>,
}

/// A build that was asked for.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// The function, but for its id, which the database decides by the name.
    pub settings: FunctionSettings,
    /// Its package.
    pub package: Package,
    /// Where the client wants to hear of it.
    pub webhook: Option<ClientWebhook>,
    /// Whether the function is to be started as soon as it is there.
    pub warm: bool,
}

/// A build as its row says.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The function it is for.
    pub function_id: FunctionId,
    /// Which build of the function it is.
    pub version: i64,
    /// The function as it was asked for.
    pub settings: FunctionSettings,
    /// Where the client wants to hear of it.
    pub webhook_url: Option<String>,
    /// Whether the function is to be started as soon as it is there.
    pub warm: bool,
    /// The failed build that it tries again.
    pub retry_of: Option<JobId>,
    /// Where it is.
    pub state: BuildState,
    /// How often a worker took it.
    pub attempt: i32,
    /// What came of it.
    pub artifact_digest: Option<String>,
    /// Why it failed.
    pub error: Option<BuildFailure>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When anything about it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The right to build a job, until it expires.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Proof of it. Not shown: whoever knows it may complete the job.
    pub token: Uuid,
    /// The job.
    pub job_id: JobId,
    /// Which taking of the job it is.
    pub attempt: i32,
    /// The function as it was asked for.
    pub settings: FunctionSettings,
    /// What is to be built.
    pub package: Package,
    /// Where in a trace it was asked for.
    pub trace: Option<TraceContext>,
    /// How long the job had waited since it was asked for.
    pub waited: Duration,
}

/// The right to create a function of inline code, until it expires.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Proof of it, as of a [`Lease`].
    pub token: Uuid,
    /// The job.
    pub job: Job,
    /// The latest row of its history.
    pub sequence: i32,
    /// The source text, as it is in the object store.
    pub package: Package,
}

/// A function as receivers are told of it that register functions.
#[must_use]
pub fn built_function(settings: FunctionSettings, created_at: DateTime<Utc>, warm: bool) -> BuiltFunction {
    BuiltFunction {
        name: settings.name,
        runtime: settings.runtime,
        handler: settings.handler,
        timeout: settings.timeout_s,
        memory: settings.memory_mb,
        environment: settings.environment,
        created_at,
        warm,
    }
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// BLAKE3 of the artifact, in hex; of an image the SHA-256 that Docker has for it.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}
