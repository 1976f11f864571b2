//! The S3 bucket that both sides keep code in.
//!
//! Thin over `aws-sdk-s3`, which signs, retries and times out; here are the settings, the few
//! operations both sides need, and errors that say which object in which bucket. Any S3 server
//! serves; `path_style` is for those that do not resolve buckets as host names.

mod bucket;
mod config;
mod file;

pub use bucket::{Objects, ObjectsError};
pub use config::ObjectsConfig;
