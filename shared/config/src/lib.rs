//! Settings from two layers, file below environment, and every problem with them at once.
//!
//! A component owns its settings as a plain struct with `#[serde(default, deny_unknown_fields)]`
//! and says what serde cannot in [`Validate`]. [`load`] then either returns the struct or
//! [`Problems`]: for each problem the file, line and column (or the environment variable), the
//! key, the value unless it may be a secret, what is wrong and how to mend it.
//!
//! ```
//! use layered_config::{HumanDuration, Report, Sources, Validate, load};
//!
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     timeout: HumanDuration,
//! }
//!
//! impl Default for Settings {
//!     fn default() -> Self {
//!         Self { timeout: HumanDuration::from_secs(30) }
//!     }
//! }
//!
//! impl Validate for Settings {
//!     fn validate(&self, report: &mut Report) {
//!         if self.timeout.get().is_zero() {
//!             report.problem("timeout", "it must not be zero", "write a duration such as \"30s\"");
//!         }
//!     }
//! }
//!
//! // SHOP__TIMEOUT=5s in the environment wins over `timeout` in the file.
//! let environment = [("SHOP__TIMEOUT".to_owned(), "5s".to_owned())];
//! let settings: Settings = load(&Sources::new("SHOP").environment(environment)).unwrap();
//! assert_eq!(settings.timeout.get().as_secs(), 5);
//! ```
//!
//! Parsing keeps TOML spans, which the `config` crate does not; `config` then does the layering and
//! the conversion of environment text to the type that a field has.

mod document;
mod load;
mod problem;
mod redact;
mod report;
mod schema;
mod value_types;

pub use load::{Sources, load, load_str, load_str_with};
pub use problem::{Origin, Problem, Problems};
pub use report::{Report, Validate};
pub use schema::schema;
pub use value_types::{ByteSize, HumanDuration, Secret};
