//! How much a package may be.

use layered_config::{ByteSize, Report, Validate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a package may be at most. The defaults are what AWS Lambda allows, where it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of the ZIP file.
    pub archive: ByteSize,
    /// Size of all files together, unpacked.
    pub unpacked: ByteSize,
    /// Size of any one file, unpacked.
    pub file: ByteSize,
    /// Files and folders together, those included that only a file's path names.
    pub entries: u32,
    /// How many times larger a file of more than 1 MiB, or the whole package, may be unpacked.
    pub ratio: u32,
    /// Length of a file's path, in bytes.
    pub path_bytes: u32,
    /// Parts of a file's path: `a/b/c.py` has three.
    pub path_depth: u32,
}

/// Below this a file's ratio says nothing: a short file of blanks is no bomb.
pub(crate) const RATIO_FLOOR_BYTES: u64 = 1024 * 1024;

/// Beyond this a package would need Zip64 records, which [`pack`](crate::pack) does not write.
const LARGEST: ByteSize = ByteSize::from_mib(2048);
const MOST_ENTRIES: u32 = 65_534;
/// What Linux allows a path to be (`PATH_MAX`), less some room for the folder that holds the package.
const LONGEST_PATH_BYTES: u32 = 3072;

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: ByteSize::from_mib(50),
            unpacked: ByteSize::from_mib(250),
            file: ByteSize::from_mib(250),
            entries: 50_000,
            ratio: 200,
            path_bytes: 512,
            path_depth: 32,
        }
    }
}

impl Limits {
    /// The limits for an artifact that [`pack`](crate::pack) made under these: its compression is not the
    /// sender's, so it may be as large as what is in it.
    #[must_use]
    pub fn of_artifacts(&self) -> Self {
        // Headers name each path twice and hold fewer than 128 further bytes.
        let headers = u64::from(self.entries) * (128 + 2 * u64::from(self.path_bytes));
        let archive = self.unpacked.bytes().saturating_add(headers);
        Self { archive: ByteSize::from_bytes(archive), ..self.clone() }
    }

    /// Whether this much larger is too much.
    pub(crate) fn is_bomb(&self, packed_bytes: u64, unpacked_bytes: u64) -> bool {
        unpacked_bytes > RATIO_FLOOR_BYTES && unpacked_bytes > packed_bytes.saturating_mul(u64::from(self.ratio))
    }
}

impl Validate for Limits {
    fn validate(&self, report: &mut Report) {
        for (key, size) in [("archive", self.archive), ("unpacked", self.unpacked), ("file", self.file)] {
            if size.bytes() == 0 || size > LARGEST {
                report.problem(key, "it must be between 1 byte and 2 GiB", "write a size such as \"50 MiB\"");
            }
        }
        for (key, value, most, example) in [
            ("entries", self.entries, MOST_ENTRIES, 50_000),
            // Deflate cannot do better than 1,032 to 1.
            ("ratio", self.ratio, 1_032, 200),
            ("path_bytes", self.path_bytes, LONGEST_PATH_BYTES, 512),
            ("path_depth", self.path_depth, 256, 32),
        ] {
            if value == 0 || value > most {
                report.problem(key, format!("it must be between 1 and {most}"), format!("write {example}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let limits: Limits = layered_config::load_str("limits.toml", "").expect("the defaults are valid");
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn every_bad_limit_is_named() {
        let text = r#"
            archive = "0"
            unpacked = "3 GiB"
            file = "0"
            entries = 65535
            ratio = 0
            path_bytes = 4096
            path_depth = 0
        "#;
        let problems = layered_config::load_str::<Limits>("limits.toml", text).expect_err("all of it is bad");
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["archive", "unpacked", "file", "entries", "ratio", "path_bytes", "path_depth"]);
    }
}
