//! Takes one shared PostgreSQL database apart into one per service, while both sides run.
//!
//! Everything follows from one [`Mapping`]: which table of the candidate is which table of the
//! monolith, under which names and types. The same file drives every stage. The stage that exists
//! is [`shared`]: the candidate works on the monolith's own rows through a schema of views, so
//! that both sides see each other's writes at once and nothing is copied.
//!
//! | module | what it does | touches the database |
//! |---|---|---|
//! | `mapping` | the document, with every problem shown at its line | no |
//! | `identifier` | the only place that quotes names and literals | no |
//! | `base` | what the monolith's tables look like | reads |
//! | [`shared`] | plan, apply and remove the views | `apply` only |

mod base;
mod identifier;
mod mapping;
pub mod shared;

pub use identifier::{Identifier, InvalidIdentifier};
pub use layered_config::Problems;
pub use mapping::{Column, Mapping, Source, Table, Target};
