//! From a request to a package in the object store, or to a refusal that leaves nothing behind.
//!
//! A package goes to a file first, is checked there, and only then to the object store. Checking it on its way
//! through is not possible, since a ZIP archive says at its end what is in it; a staging object would have
//! to be removed after each refusal, and stays when the process that should do so was killed, where a file goes
//! with the process's folder.

mod fields;
mod form;
mod spool;

use std::{fs::File, io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Request, header},
};
use domain::JobId;
use function_package::{Limits, Listing, PackageError, Refusal, RuntimeFamily, find_entry_point};
use objects::{Objects, ObjectsError};
use runtimes::RuntimesConfig;
use tokio::sync::Semaphore;

use crate::{
    config::PackagesConfig,
    folder::Folder,
    job::{Kind, NewJob, Package},
};

use fields::Submission;
pub use fields::{FieldProblem, request_digest};
use spool::{Spooled, TooLarge};

/// Why a package was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// As many packages are being received as may be.
    #[error("as many packages are being received as may be; try again later")]
    Busy,
    /// The client took too long to send it.
    #[error("the request took longer than {} s to arrive", .0.as_secs())]
    Slow(Duration),
    /// The body is neither JSON nor a form.
    #[error("the body must be application/json or multipart/form-data")]
    MediaType,
    /// The body could not be read, or is not what it says it is.
    #[error("{0}")]
    Malformed(String),
    /// It is larger than it may be.
    #[error("the {what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// How large it may be.
        limit_bytes: u64,
    },
    /// What was asked for cannot be.
    #[error(transparent)]
    Field(#[from] FieldProblem),
    /// The package cannot be a function.
    #[error(transparent)]
    Package(#[from] Refusal),
    /// The disk failed.
    #[error("a package could not be kept on disk")]
    Disk(#[source] io::Error),
    /// The object store failed.
    #[error("a package could not be stored")]
    Objects(#[source] ObjectsError),
}

/// Takes packages.
#[derive(Debug, Clone)]
pub struct Intake {
    objects: Objects,
    folder: Folder,
    limits: Limits,
    runtimes: RuntimesConfig,
    json_limit_bytes: usize,
    upload_timeout: Duration,
    places: Arc<Semaphore>,
    /// Whether clients may leave their secret out.
    has_secret: bool,
    /// Whether packages with a Dockerfile are taken.
    builds_images: bool,
}

/// A request that was read and found good. Nothing of it is stored yet.
#[derive(Debug)]
pub struct Checked {
    job: NewJob,
    spooled: Spooled,
    /// BLAKE3 of all that was asked for.
    pub request_digest: String,
}

impl Intake {
    /// Packages go through `folder` into `objects`.
    #[must_use]
    pub fn new(
        config: &PackagesConfig,
        runtimes: RuntimesConfig,
        objects: Objects,
        folder: Folder,
        has_secret: bool,
        builds_images: bool,
    ) -> Self {
        Self {
            objects,
            folder,
            limits: config.limits.clone(),
            runtimes,
            json_limit_bytes: config.json_limit.as_usize(),
            upload_timeout: config.upload_timeout.get(),
            places: Arc::new(Semaphore::new(config.max_uploads)),
            has_secret,
            builds_images,
        }
    }

    /// Reads a request, and checks everything that can be known of it without building it.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn check(&self, request: Request<Body>) -> Result<Checked, IntakeError> {
        let _place = self.places.try_acquire().map_err(|_| IntakeError::Busy)?;
        let (fields, spooled) = tokio::time::timeout(self.upload_timeout, self.read(request))
            .await
            .map_err(|_| IntakeError::Slow(self.upload_timeout))??;
        let submitted = fields.check(&self.runtimes, self.has_secret, self.builds_images)?;
        let Submission { settings, webhook, warm, kind } = submitted;
        let family = fields::family(&self.runtimes, &settings)?;
        let package = self.inspect(&spooled, kind, family, &settings.handler).await?;
        let job = NewJob { id: JobId::generate(), settings, package, webhook, warm };
        let request_digest = fields::request_digest(&job);
        Ok(Checked { job, spooled, request_digest })
    }

    /// Stores the package of a request. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`IntakeError::Objects`].
    pub async fn store(&self, checked: Checked) -> Result<NewJob, IntakeError> {
        let Checked { job, spooled, .. } = checked;
        self.objects.put_file(&job.package.object_key, &spooled.path()).await.map_err(IntakeError::Objects)?;
        Ok(job)
    }

    async fn read(&self, request: Request<Body>) -> Result<(fields::Fields, Spooled), IntakeError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let (folder, limit_bytes) = (&self.folder, self.limits.archive.bytes());
        if media_type.eq_ignore_ascii_case("application/json") {
            form::read_json(request.into_body(), self.json_limit_bytes, folder, limit_bytes).await
        } else if media_type.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multer::parse_boundary(&content_type)
                .map_err(|error| IntakeError::Malformed(format!("the form cannot be read: {error}")))?;
            form::read_multipart(request.into_body(), boundary, folder, limit_bytes).await
        } else {
            Err(IntakeError::MediaType)
        }
    }

    async fn inspect(
        &self,
        spooled: &Spooled,
        kind: Kind,
        family: RuntimeFamily,
        handler: &str,
    ) -> Result<Package, IntakeError> {
        let (path, limits, handler) = (spooled.path(), self.limits.clone(), handler.to_owned());
        let inspecting = tokio::task::spawn_blocking(move || {
            let mut archive = File::open(&path).map_err(IntakeError::Disk)?;
            let listing = function_package::inspect(&mut archive, &limits).map_err(|error| match error {
                PackageError::Refused(refusal) => IntakeError::Package(refusal),
                PackageError::Machine { source, .. } => IntakeError::Disk(source),
            })?;
            if kind == Kind::Image {
                // What is in the image is for the Dockerfile to say.
                check_dockerfile(&listing)?;
            } else {
                // Whether it can be parsed is for a worker to find out, which has a sandbox.
                find_entry_point(&listing, family, &handler)?;
            }
            Ok::<_, IntakeError>(listing)
        });
        let listing = inspecting.await.map_err(|error| IntakeError::Disk(io::Error::other(error)))??;
        Ok(Package {
            kind,
            digest: spooled.digest.clone(),
            object_key: upload_key(&spooled.digest),
            bytes: spooled.bytes,
            files: u64::from(listing.files),
            unpacked_bytes: listing.unpacked_bytes,
        })
    }
}

fn check_dockerfile(listing: &Listing) -> Result<(), FieldProblem> {
    if listing.has_file("Dockerfile") {
        return Ok(());
    }
    let message = "a package of this type has a file `Dockerfile` at its root, and this one has none";
    Err(FieldProblem { field: "package_type".to_owned(), message: message.to_owned() })
}

/// The object of a package as it was sent. Two clients that send the same share it.
fn upload_key(digest: &str) -> String {
    format!("uploads/{digest}.zip")
}

impl From<TooLarge> for IntakeError {
    fn from(error: TooLarge) -> Self {
        Self::TooLarge { what: "package", limit_bytes: error.limit_bytes }
    }
}
