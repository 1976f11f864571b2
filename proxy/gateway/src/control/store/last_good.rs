//! What a gateway of a shared store keeps on its own disk, so that it can start and roll back while
//! the store is away.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{DocumentFile, FileError};
use crate::control::{Authorship, chain::Head};

/// A rollback that is in force here but not in the store yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Pending {
    /// The routes by name, each with its epoch since.
    pub(in crate::control) routes: BTreeMap<String, u64>,
    /// Who did it.
    pub(in crate::control) by: Authorship,
    /// When.
    pub(in crate::control) at: DateTime<Utc>,
}

/// What the file holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct LastGood {
    /// The last revision this gateway has seen.
    pub(in crate::control) head: Head,
    /// What has to be added to it.
    pub(in crate::control) pending: Vec<Pending>,
    /// SHA-256 of the copy of the document that was last written, which tells an old copy from an
    /// edited one.
    #[serde(default)]
    pub(super) copied: String,
}

impl LastGood {
    /// What is in the file. What is no such file counts as none: it is written anew with the next
    /// revision, and until then the document's copy is better than nothing.
    pub(super) fn read(file: &DocumentFile) -> Result<Option<Self>, FileError> {
        let Some(text) = file.read()? else { return Ok(None) };
        let read = serde_json::from_str(&text);
        Ok(read.map_err(|error| tracing::error!(%error, file = file.name(), "this is no last good state")).ok())
    }

    pub(super) fn write(&self, file: &DocumentFile) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(self).expect("maps with names for keys and plain values");
        file.write(&text)
    }
}
