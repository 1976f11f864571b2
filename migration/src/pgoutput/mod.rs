//! What PostgreSQL's own output plugin, `pgoutput`, says: bytes in, messages out. Pure; bytes that make
//! no sense are an error and never a panic.
//!
//! Protocol versions 1 and 2 (and with it the messages of 3 and 4 that are not about prepared
//! transactions), values as text. The format is chapter "Logical Replication Message Formats" of
//! PostgreSQL's manual.

mod message;
mod reader;

pub(crate) use message::{Message, Relation, Tuple, Value};
pub use reader::Malformed;
