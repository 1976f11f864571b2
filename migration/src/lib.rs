//! Takes one shared PostgreSQL database apart into one per service, while both sides run.
//!
//! Everything follows from one [`Mapping`]: which table of the candidate is which table of the
//! monolith, under which names and types. The same file drives every stage. In the first, [`shared`],
//! the candidate works on the monolith's own rows through a schema of views, so that both sides see
//! each other's writes at once and nothing is copied. Then [`mod@copy`] brings the rows of one
//! [`mod@slice`] after the other, as they were at one point, into databases of their owners, and a
//! [`stream`] keeps both sides in step until a cutover, and after it for the way back.
//!
//! | module | what it does | touches the database |
//! |---|---|---|
//! | `mapping` | the document, with every problem shown at its line | no |
//! | `identifier` | the only place that quotes names and literals | no |
//! | `base` | what the monolith's tables look like | reads |
//! | `projection` | one table of the monolith as a candidate sees it, and back | no |
//! | [`cutover`] | the rows get another owner, behind a fence, and back | yes |
//! | [`inspect`] | a first mapping from a live database | reads |
//! | [`validate`] | a mapping against both databases, with real rows | reads |
//! | [`mod@copy`] | the rows of a slice as they were at one point, copied | yes |
//! | [`mod@slice`] | tables that move together, as SQL between two databases | reads |
//! | `link`, `pgoutput` | PostgreSQL's streaming replication: its connection, its messages | yes, no |
//! | [`stream`] | the changes since, decoded, and everything around it: slot, ledger, quarantine | yes |
//! | `apply` | changes as rows and a position, in one transaction | yes |
//! | [`verify`] | a slice's rows on both sides, compared value by value | reads |
//! | [`retire`] | what is still used of the monolith's tables, and what would drop them | reads |
//! | [`shared`] | plan, apply and remove the views | `apply` only |

mod apply;
mod base;
mod books;
pub mod copy;
pub mod cutover;
mod failpoint;
mod finding;
mod identifier;
pub mod inspect;
mod link;
mod lsn;
mod mapping;
mod pgoutput;
mod projection;
pub mod retire;
pub mod shared;
pub mod slice;
pub mod stream;
mod type_names;
pub mod validate;
pub mod verify;

pub use finding::Finding;
pub use identifier::{Identifier, InvalidIdentifier, QualifiedName};
pub use layered_config::Problems;
pub use link::LinkError;
pub use lsn::{InvalidLsn, Lsn};
pub use mapping::{Column, Mapping, Owner, Slice, Source, Table, Target, UnfitPolicy};
pub use pgoutput::Malformed;
