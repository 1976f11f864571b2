//! Writes changes into a database: rows and the position they bring it to in one transaction.
//!
//! ```text
//!   changes ─► group (whole transactions, as many as have arrived)
//!               └► what they come to, row by row ─► lanes, by a hash of the key ─► per table
//!                                                                                  DELETE keys
//!                                                                                  UPDATE known columns
//!                                                                                  INSERT … ON CONFLICT
//!                                                                                  position; COMMIT
//! ```
//!
//! Groups grow by themselves: while one is written, the next one arrives. A row that changed ten
//! times in a group is written once. The mapping's expressions are evaluated by the database that is
//! written, over the values as they came.
//!
//! | what can happen | what it comes to |
//! |---|---|
//! | killed anywhere | each lane goes on after its own position: nothing is lost or done twice |
//! | a large value that a change did not touch | is left as it is, or fetched where the row must be known whole |
//! | a row moves into or out of the filter | it is added (fetched, where it did not come whole) or taken away |
//! | a transaction larger than a group | is written in pieces, and committed at its end |
//! | a `TRUNCATE`, a change between lanes, a table without a key | is written by one lane alone, in its place |
//! | something that the database refuses | the group is written again, change by change; what is refused goes to quarantine with its reason, later changes of the same row wait behind it |

mod applier;
mod change;
mod flow;
mod hold;
mod statement;
mod writer;

pub(crate) use applier::{Applier, Event, Limits, Position};
pub(crate) use change::{Change, ChangeKind, complete};
pub(crate) use flow::{Flow, TableFlow};
pub(crate) use hold::Hold;
pub(crate) use writer::{Fetcher, Item, Writer};
