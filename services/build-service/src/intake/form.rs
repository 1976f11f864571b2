//! The two forms a request may have: JSON with the package in base64, and a form with the package as a file.

use std::io::Read as _;

use axum::body::Body;
use base64::{engine::general_purpose::STANDARD, read::DecoderReader};
use futures::TryStreamExt as _;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::{
    IntakeError,
    fields::Fields,
    spool::{Spool, Spooled},
};
use crate::folder::Folder;

/// The file part.
const PACKAGE: &str = "package";
/// The longest of the other parts, in bytes.
const TEXT_BYTES: u64 = 256 * 1024;
/// Parts of a form, and what stands between them, beside the package itself.
const FORM_BYTES: u64 = 1024 * 1024;
/// How much of a base64 text is decoded at once.
const DECODE_BYTES: usize = 64 * 1024;

/// `{"name", …, "package_data": "<base64>"}`
pub(super) async fn read_json(
    body: Body,
    json_limit_bytes: usize,
    folder: &Folder,
    limit_bytes: u64,
) -> Result<(Fields, Spooled), IntakeError> {
    let body = axum::body::to_bytes(body, json_limit_bytes).await.map_err(|error| {
        let is_length = std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("length"));
        if is_length {
            IntakeError::TooLarge {
                what: "JSON (packages of this size come as multipart/form-data)",
                limit_bytes: json_limit_bytes as u64,
            }
        } else {
            IntakeError::Malformed("the body could not be read".to_owned())
        }
    })?;
    let mut fields: Fields = serde_json::from_slice(&body)
        .map_err(|error| IntakeError::Malformed(format!("the body is not a function as JSON: {error}")))?;
    drop(body);
    let encoded = fields.take_package_data()?;
    let mut spool = Spool::create(folder, limit_bytes).await?;
    let mut decoder = DecoderReader::new(encoded.as_bytes(), &STANDARD);
    let mut buffer = vec![0; DECODE_BYTES];
    loop {
        let read = decoder
            .read(&mut buffer)
            .map_err(|error| IntakeError::Malformed(format!("`package_data` is not base64: {error}")))?;
        if read == 0 {
            return Ok((fields, spool.finish().await?));
        }
        spool.write(&buffer[..read]).await?;
    }
}

/// One part for each field, and the file part `package`, in any order.
pub(super) async fn read_multipart(
    body: Body,
    boundary: String,
    folder: &Folder,
    limit_bytes: u64,
) -> Result<(Fields, Spooled), IntakeError> {
    let sizes = SizeLimit::new()
        .whole_stream(limit_bytes.saturating_add(FORM_BYTES))
        .per_field(TEXT_BYTES)
        // The spool says it better, and at the same byte.
        .for_field(PACKAGE, limit_bytes.saturating_add(FORM_BYTES));
    let constraints = Constraints::new().size_limit(sizes);
    let stream = body.into_data_stream().map_err(std::io::Error::other);
    let mut form = Multipart::with_constraints(stream, boundary, constraints);
    let (mut fields, mut package) = (Fields::default(), None);
    while let Some(part) = form.next_field().await.map_err(|error| unreadable(&error, limit_bytes))? {
        let name = part.name().unwrap_or_default().to_owned();
        if name != PACKAGE {
            let text = part.text().await.map_err(|error| unreadable(&error, limit_bytes))?;
            fields.set(&name, text)?;
        } else if package.is_none() {
            package = Some(spool(part, folder, limit_bytes).await?);
        } else {
            return Err(IntakeError::Malformed("there are two parts `package`".to_owned()));
        }
    }
    let package = package.ok_or_else(|| IntakeError::Malformed("the file part `package` is missing".to_owned()))?;
    Ok((fields, package))
}

async fn spool(mut part: Field<'_>, folder: &Folder, limit_bytes: u64) -> Result<Spooled, IntakeError> {
    let mut spool = Spool::create(folder, limit_bytes).await?;
    while let Some(chunk) = part.chunk().await.map_err(|error| unreadable(&error, limit_bytes))? {
        spool.write(&chunk).await?;
    }
    spool.finish().await
}

fn unreadable(error: &multer::Error, limit_bytes: u64) -> IntakeError {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. } => {
            IntakeError::TooLarge { what: "text of a part", limit_bytes: *limit }
        }
        multer::Error::StreamSizeExceeded { .. } => IntakeError::TooLarge { what: "package", limit_bytes },
        other => IntakeError::Malformed(format!("the form cannot be read: {other}")),
    }
}
