//! A function as the service runs it.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use domain::{FunctionId, RuntimeName, contract};
use serde::{Deserialize, Serialize};

/// A function as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its id.
    pub id: FunctionId,
    /// Its unique name.
    pub name: String,
    /// Its runtime.
    pub runtime: RuntimeName,
    /// The handler to call.
    pub handler: String,
    /// Where its code is: the BLAKE3 digest of the source, in hex.
    pub code_key: String,
    /// Timeout of a call, in seconds.
    pub timeout_s: i32,
    /// Memory of a call, in MB.
    pub memory_mb: i64,
    /// Environment variables of a call.
    pub environment: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a worker was started with. A worker whose version is not that of the function as it is now
/// is never used for it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(blake3::Hash);

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", &self.0.to_hex()[..12])
    }
}

impl Function {
    /// The version of a worker for this function: a digest over everything that is fixed when an
    /// interpreter starts. The timeout is not: it is a matter of each call.
    #[must_use]
    pub fn version(&self) -> Version {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.id.as_uuid().as_bytes());
        field(self.name.as_bytes());
        field(self.runtime.as_str().as_bytes());
        field(self.handler.as_bytes());
        field(self.code_key.as_bytes());
        field(&self.memory_mb.to_le_bytes());
        for (name, value) in &self.environment {
            field(name.as_bytes());
            field(value.as_bytes());
        }
        Version(hasher.finalize())
    }

    /// Timeout of a call. A row from elsewhere may hold anything; a timeout is at least 1 s.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.timeout_s).unwrap_or(0).max(1))
    }

    /// Memory of a call, in bytes. A row from elsewhere may hold anything; it is at least 1 MB.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        u64::try_from(self.memory_mb).unwrap_or(0).max(1).saturating_mul(1024 * 1024)
    }

    /// The function as one line of a list.
    #[must_use]
    pub fn summary(&self) -> contract::FunctionSummary {
        contract::FunctionSummary {
            function_id: self.id,
            name: self.name.clone(),
            runtime: self.runtime.as_str().to_owned(),
            created_at: self.created_at,
        }
    }

    /// The function in full.
    #[must_use]
    pub fn detail(&self) -> contract::FunctionDetail {
        contract::FunctionDetail {
            function_id: self.id,
            name: self.name.clone(),
            runtime: self.runtime.as_str().to_owned(),
            handler: self.handler.clone(),
            timeout: self.timeout_s,
            memory: self.memory_mb,
            environment: self.environment.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn function(name: &str) -> Function {
        Function {
            id: FunctionId::generate(),
            name: name.to_owned(),
            runtime: domain::Runtime::Python311.into(),
            handler: "handler".to_owned(),
            code_key: "k".to_owned(),
            timeout_s: 3,
            memory_mb: 128,
            environment: BTreeMap::new(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_version_changes_with_whatever_a_worker_is_started_with() {
        let base = function("f");
        let mut environment = base.clone();
        environment.environment.insert("A".into(), "1".into());
        let changed = [
            Function { id: FunctionId::generate(), ..base.clone() },
            Function { runtime: domain::Runtime::Python39.into(), ..base.clone() },
            Function { handler: "other".into(), ..base.clone() },
            Function { code_key: "other".into(), ..base.clone() },
            Function { memory_mb: 256, ..base.clone() },
            environment,
        ];
        for other in changed {
            assert_ne!(base.version(), other.version(), "{other:?}");
        }
        let retimed = Function { timeout_s: 9, updated_at: Utc::now(), ..base.clone() };
        assert_eq!(base.version(), retimed.version());
    }

    #[test]
    fn neighbouring_fields_cannot_be_read_as_one_another() {
        let mut left = function("f");
        let mut right = left.clone();
        left.environment = [("AB".to_owned(), "C".to_owned())].into();
        right.environment = [("A".to_owned(), "BC".to_owned())].into();
        assert_ne!(left.version(), right.version());
    }
}
