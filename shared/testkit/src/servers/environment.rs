use std::path::PathBuf;

const POSTGRES_URL: &str = "TESTKIT_POSTGRES_URL";
const S3_ENDPOINT: &str = "TESTKIT_S3_ENDPOINT";
const S3_ACCESS_KEY: &str = "TESTKIT_S3_ACCESS_KEY";
const S3_SECRET_KEY: &str = "TESTKIT_S3_SECRET_KEY";
const S3_FOLDER: &str = "TESTKIT_S3_FOLDER";
const RABBITMQ_FOLDER: &str = "TESTKIT_RABBITMQ_FOLDER";

/// How a test process finds servers that somebody else started.
#[derive(Clone, Default)]
pub struct Environment {
    /// `TESTKIT_POSTGRES_URL`: a superuser's URL of database `postgres`.
    pub postgres_url: Option<String>,
    pub(super) s3: Option<S3Environment>,
    /// `TESTKIT_RABBITMQ_FOLDER`: the folder of a broker that testkit started, with all it takes to
    /// control it.
    pub rabbitmq_folder: Option<PathBuf>,
}

/// `TESTKIT_S3_ENDPOINT`, `_ACCESS_KEY`, `_SECRET_KEY` and `_FOLDER`, where buckets are folders.
#[derive(Clone)]
pub(super) struct S3Environment {
    pub(super) endpoint: String,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) folder: PathBuf,
}

impl Environment {
    /// Reads this process's variables.
    #[must_use]
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let s3 = || {
            Some(S3Environment {
                endpoint: text(S3_ENDPOINT)?,
                access_key: text(S3_ACCESS_KEY)?,
                secret_key: text(S3_SECRET_KEY)?,
                folder: text(S3_FOLDER)?.into(),
            })
        };
        Self { postgres_url: text(POSTGRES_URL), s3: s3(), rabbitmq_folder: text(RABBITMQ_FOLDER).map(Into::into) }
    }

    /// The variables to set for a command.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(url) = &self.postgres_url {
            variables.push((POSTGRES_URL, url.clone()));
        }
        if let Some(s3) = &self.s3 {
            variables.push((S3_ENDPOINT, s3.endpoint.clone()));
            variables.push((S3_ACCESS_KEY, s3.access_key.clone()));
            variables.push((S3_SECRET_KEY, s3.secret_key.clone()));
            variables.push((S3_FOLDER, s3.folder.display().to_string()));
        }
        if let Some(folder) = &self.rabbitmq_folder {
            variables.push((RABBITMQ_FOLDER, folder.display().to_string()));
        }
        variables
    }
}
