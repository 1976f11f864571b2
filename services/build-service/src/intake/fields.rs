//! What a client asks for beside the package.

use std::collections::BTreeMap;

use domain::contract::{ContractError, FunctionSettings};
use function_package::RuntimeFamily;
use layered_config::Secret;
use runtimes::RuntimesConfig;
use serde::{Deserialize, de::DeserializeOwned};

use super::IntakeError;
use crate::{
    config::is_secret,
    job::{ClientWebhook, Kind, NewJob},
    webhooks::check_url,
};

/// The handler where a request names none: the function `handler` in `index.py` or `index.js`.
const DEFAULT_HANDLER: &str = "index.handler";

/// A field that cannot be what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct FieldProblem {
    /// Which one.
    pub field: String,
    /// Why.
    pub message: String,
}

/// The fields as sent. An empty text counts as missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fields {
    name: Option<String>,
    runtime: Option<String>,
    handler: Option<String>,
    timeout: Option<i64>,
    memory: Option<i64>,
    environment: Option<BTreeMap<String, String>>,
    webhook_url: Option<String>,
    webhook_secret: Option<Secret>,
    warm: Option<bool>,
    package_type: Option<String>,
    package_data: Option<String>,
}

/// The fields, checked.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) settings: FunctionSettings,
    pub(super) webhook: Option<ClientWebhook>,
    pub(super) warm: bool,
    pub(super) kind: Kind,
}

impl Fields {
    /// Sets a field from the part of a form.
    pub(super) fn set(&mut self, name: &str, text: String) -> Result<(), IntakeError> {
        if text.is_empty() {
            return Ok(());
        }
        match name {
            "name" => self.name = Some(text),
            "runtime" => self.runtime = Some(text),
            "handler" => self.handler = Some(text),
            "timeout" => self.timeout = Some(json(name, &text)?),
            "memory" => self.memory = Some(json(name, &text)?),
            "environment" => self.environment = Some(json(name, &text)?),
            "webhook_url" => self.webhook_url = Some(text),
            "webhook_secret" => self.webhook_secret = Some(Secret::new(text)),
            "warm" => self.warm = Some(json(name, &text)?),
            "package_type" => self.package_type = Some(text),
            other => {
                let known = "name, runtime, handler, timeout, memory, environment, webhook_url, webhook_secret, \
                             warm, package_type and package";
                return Err(IntakeError::Malformed(format!("no part is called `{other}`; there are {known}")));
            }
        }
        Ok(())
    }

    /// The package in base64.
    pub(super) fn take_package_data(&mut self) -> Result<String, FieldProblem> {
        let data = self.package_data.take().filter(|text| !text.is_empty());
        data.ok_or_else(|| problem("package_data", "it is missing: the ZIP archive in base64"))
    }

    pub(super) fn check(
        self,
        runtimes: &RuntimesConfig,
        has_secret: bool,
        builds_images: bool,
    ) -> Result<Submission, FieldProblem> {
        let kind = match self.package_type.as_deref() {
            None | Some("" | "zip") => Kind::Archive,
            Some("docker") if builds_images => Kind::Image,
            Some("docker") => {
                let message = "this service builds no images, because its settings have no `images`; send a ZIP archive \
                               without a Dockerfile (`zip`)";
                return Err(problem("package_type", message));
            }
            Some("image") => {
                let message =
                    "images that are built elsewhere are not taken; send a ZIP archive with a Dockerfile (`docker`)";
                return Err(problem("package_type", message));
            }
            Some(_) => return Err(problem("package_type", "there are two types: `zip` and `docker`")),
        };
        let name = required("name", self.name)?;
        let runtime = required("runtime", self.runtime)?;
        let handler = self.handler.filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT_HANDLER.to_owned());
        let environment = self.environment.unwrap_or_default();
        let runtime = runtimes.check(&runtime);
        let settings = FunctionSettings::check(name, runtime, handler, self.timeout, self.memory, environment);
        let settings = settings.map_err(|error| {
            let field = if matches!(error, ContractError::InvalidRuntime(_)) { "runtime" } else { "function" };
            problem(field, error.to_string())
        })?;
        let webhook = client_webhook(self.webhook_url, self.webhook_secret, has_secret)?;
        Ok(Submission { settings, webhook, warm: self.warm.unwrap_or_default(), kind })
    }
}

/// What kind of program runs packages of this runtime.
pub(super) fn family(runtimes: &RuntimesConfig, settings: &FunctionSettings) -> Result<RuntimeFamily, FieldProblem> {
    let found = runtimes.find(&settings.runtime).map_err(|error| problem("runtime", error.to_string()))?;
    RuntimeFamily::of(found.language).ok_or_else(|| {
        problem("runtime", format!("packages of {} cannot be run; use a Python or Node.js runtime", settings.runtime))
    })
}

fn client_webhook(
    url: Option<String>,
    secret: Option<Secret>,
    has_secret: bool,
) -> Result<Option<ClientWebhook>, FieldProblem> {
    let Some(url) = url.filter(|text| !text.is_empty()) else { return Ok(None) };
    check_url(&url).map_err(|message| problem("webhook_url", message))?;
    let secret = secret.filter(|secret| !secret.is_empty());
    match &secret {
        Some(secret) => is_secret(secret).map_err(|message| problem("webhook_secret", message))?,
        None if has_secret => {}
        None => {
            let message = "it is missing: this service has no secret of its own to sign messages with";
            return Err(problem("webhook_secret", message));
        }
    }
    Ok(Some(ClientWebhook { url, secret }))
}

fn required(field: &str, value: Option<String>) -> Result<String, FieldProblem> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| problem(field, "it is missing"))
}

fn json<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, FieldProblem> {
    serde_json::from_str(text).map_err(|error| problem(field, error.to_string()))
}

fn problem(field: &str, message: impl Into<String>) -> FieldProblem {
    FieldProblem { field: field.to_owned(), message: message.into() }
}

/// BLAKE3 of all that was asked for, so that the same request has the same digest in either form.
pub fn request_digest(job: &NewJob) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let settings = &job.settings;
    let kind = job.package.kind.as_str();
    for text in [kind, &settings.name, settings.runtime.as_str(), &settings.handler, &job.package.digest] {
        field(text.as_bytes());
    }
    field(&settings.timeout_s.to_le_bytes());
    field(&settings.memory_mb.to_le_bytes());
    field(&[u8::from(job.warm)]);
    field(&(settings.environment.len() as u64).to_le_bytes());
    for (name, value) in &settings.environment {
        field(name.as_bytes());
        field(value.as_bytes());
    }
    if let Some(webhook) = &job.webhook {
        field(webhook.url.as_bytes());
        field(webhook.secret.as_ref().map_or("", |secret| secret.expose()).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
