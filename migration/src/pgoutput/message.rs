use bytes::Bytes;

use super::reader::{Malformed, Reader};
use crate::lsn::Lsn;

/// One message of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A transaction that has committed begins; its changes follow.
    Begin {
        commit_lsn: Lsn,
        commit_at: i64,
    },
    /// It ends. The next one commits at or after `end_lsn`.
    Commit {
        end_lsn: Lsn,
        commit_at: i64,
    },
    /// The changes come from elsewhere: the name of a replication origin.
    Origin {
        name: String,
    },
    /// A table as the changes that follow see it.
    Relation(Relation),
    /// A type that is not PostgreSQL's own.
    Type,
    Insert {
        relation: u32,
        new: Tuple,
    },
    Update {
        relation: u32,
        old: Option<OldRow>,
        new: Tuple,
    },
    Delete {
        relation: u32,
        old: OldRow,
    },
    Truncate(Truncated),
    /// What somebody wrote into the log by `pg_logical_emit_message`.
    Emitted {
        transactional: bool,
        lsn: Lsn,
        prefix: String,
    },
    /// A part of a transaction that has not committed yet. Until [`Message::StreamStop`], messages
    /// carry the id of the (sub)transaction that made them.
    StreamStart {
        xid: u32,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_at: i64,
    },
    /// The subtransaction was taken back; all of the transaction when it is the same.
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<RelationColumn>,
}

/// A column of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    pub(crate) name: String,
    pub(crate) type_id: u32,
    pub(crate) modifier: i32,
}

/// The values of a row, in the order of the relation's columns.
pub(crate) type Tuple = Vec<Value>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Null,
    /// A large value that the change has not touched; what it is, the message does not say.
    Unchanged,
    /// As PostgreSQL prints it; UTF-8.
    Text(Bytes),
}

/// What a message says of a row as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OldRow {
    /// The columns of the replica identity; the others are null.
    Key(Tuple),
    /// All of it (`REPLICA IDENTITY FULL`).
    Full(Tuple),
}

/// Tables that were emptied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Truncated {
    pub(crate) relations: Vec<u32>,
}

impl Value {
    /// The text, unless there is none.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => Some(std::str::from_utf8(bytes).expect("checked when it was decoded")),
            Self::Null | Self::Unchanged => None,
        }
    }

    pub(crate) const fn is_unchanged(&self) -> bool {
        matches!(self, Self::Unchanged)
    }

    /// How many bytes it takes, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(bytes) => bytes.len() + 16,
            Self::Null | Self::Unchanged => 16,
        }
    }
}

impl OldRow {
    pub(crate) const fn tuple(&self) -> &Tuple {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => tuple,
        }
    }
}

impl Message {
    /// Reads one message. Inside of a stream (between [`Message::StreamStart`] and
    /// [`Message::StreamStop`]), the id of the transaction that made the change comes with it.
    pub(crate) fn decode(bytes: Bytes, in_stream: bool) -> Result<(Option<u32>, Self), Malformed> {
        let mut reader = Reader(bytes);
        let kind = reader.u8("its kind")?;
        let carries_id = matches!(kind, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M');
        let xid = if in_stream && carries_id { Some(reader.u32("a transaction's id")?) } else { None };
        let message = match kind {
            b'B' => {
                let (commit_lsn, commit_at) = (reader.lsn("a commit")?, reader.i64("a commit")?);
                reader.u32("a transaction's id")?;
                Self::Begin { commit_lsn, commit_at }
            }
            b'C' => {
                reader.u8("flags")?;
                reader.lsn("a commit")?;
                Self::Commit { end_lsn: reader.lsn("a commit")?, commit_at: reader.i64("a commit")? }
            }
            b'O' => {
                reader.lsn("an origin")?;
                Self::Origin { name: reader.text("an origin")? }
            }
            b'R' => Self::Relation(relation(&mut reader)?),
            b'Y' => {
                reader.u32("a type")?;
                reader.text("a type")?;
                reader.text("a type")?;
                Self::Type
            }
            b'I' => Self::Insert { relation: reader.u32("a relation")?, new: new_tuple(&mut reader)? },
            b'U' => update(&mut reader)?,
            b'D' => {
                let relation = reader.u32("a relation")?;
                let kind = reader.u8("an old row")?;
                Self::Delete { relation, old: old_row(kind, &mut reader)? }
            }
            b'T' => truncate(&mut reader)?,
            b'M' => {
                let flags = reader.u8("flags")?;
                let (lsn, prefix) = (reader.lsn("a message")?, reader.text("a message")?);
                reader.counted("a message")?;
                Self::Emitted { transactional: flags & 1 == 1, lsn, prefix }
            }
            b'S' => {
                let xid = reader.u32("a transaction's id")?;
                reader.u8("flags")?;
                Self::StreamStart { xid }
            }
            b'E' => Self::StreamStop,
            b'c' => {
                let xid = reader.u32("a transaction's id")?;
                reader.u8("flags")?;
                let commit_lsn = reader.lsn("a commit")?;
                Self::StreamCommit {
                    xid,
                    commit_lsn,
                    end_lsn: reader.lsn("a commit")?,
                    commit_at: reader.i64("a commit")?,
                }
            }
            b'A' => {
                let (xid, subxid) = (reader.u32("a transaction's id")?, reader.u32("a transaction's id")?);
                // Version 4 with parallel streaming adds where and when.
                if !reader.0.is_empty() {
                    reader.lsn("an abort")?;
                    reader.i64("an abort")?;
                }
                Self::StreamAbort { xid, subxid }
            }
            b'b' | b'P' | b'K' | b'r' | b'p' => return Err(Malformed::Unasked("a prepared transaction")),
            other => return Err(Malformed::Unknown(other, "message")),
        };
        reader.end()?;
        Ok((xid, message))
    }
}

fn relation(reader: &mut Reader) -> Result<Relation, Malformed> {
    let id = reader.u32("a relation")?;
    let schema = reader.text("a relation")?;
    let name = reader.text("a relation")?;
    reader.u8("a replica identity")?;
    let count = reader.u16("a relation")?;
    let mut columns = Vec::new();
    for _ in 0..count {
        reader.u8("flags")?;
        columns.push(RelationColumn {
            name: reader.text("a column")?,
            type_id: reader.u32("a column")?,
            modifier: reader.i32("a column")?,
        });
    }
    // PostgreSQL's own tables come with no schema.
    let schema = if schema.is_empty() { "pg_catalog".to_owned() } else { schema };
    Ok(Relation { id, schema, name, columns })
}

fn update(reader: &mut Reader) -> Result<Message, Malformed> {
    let relation = reader.u32("a relation")?;
    match reader.u8("a row")? {
        b'N' => Ok(Message::Update { relation, old: None, new: tuple(reader)? }),
        kind => {
            let old = Some(old_row(kind, reader)?);
            Ok(Message::Update { relation, old, new: new_tuple(reader)? })
        }
    }
}

fn truncate(reader: &mut Reader) -> Result<Message, Malformed> {
    let count = reader.u32("tables")?;
    reader.u8("flags")?;
    let mut relations = Vec::new();
    for _ in 0..count {
        relations.push(reader.u32("a relation")?);
    }
    Ok(Message::Truncate(Truncated { relations }))
}

fn new_tuple(reader: &mut Reader) -> Result<Tuple, Malformed> {
    match reader.u8("a new row")? {
        b'N' => tuple(reader),
        other => Err(Malformed::Unknown(other, "new row")),
    }
}

fn old_row(kind: u8, reader: &mut Reader) -> Result<OldRow, Malformed> {
    match kind {
        b'K' => Ok(OldRow::Key(tuple(reader)?)),
        b'O' => Ok(OldRow::Full(tuple(reader)?)),
        other => Err(Malformed::Unknown(other, "old row")),
    }
}

fn tuple(reader: &mut Reader) -> Result<Tuple, Malformed> {
    let count = reader.u16("a row")?;
    // No more than what is there could fill: a count alone must not take memory.
    let mut values = Vec::with_capacity(usize::from(count).min(reader.0.len()));
    for _ in 0..count {
        values.push(match reader.u8("a value")? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let bytes = reader.counted("a value")?;
                std::str::from_utf8(&bytes).map_err(|_| Malformed::NotText("a value"))?;
                Value::Text(bytes)
            }
            b'b' => return Err(Malformed::Unasked("a value in binary")),
            other => return Err(Malformed::Unknown(other, "value")),
        });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put_tuple(out: &mut Vec<u8>, values: &[Value]) {
        out.extend_from_slice(&u16::try_from(values.len()).expect("few").to_be_bytes());
        for value in values {
            match value {
                Value::Null => out.push(b'n'),
                Value::Unchanged => out.push(b'u'),
                Value::Text(text) => {
                    out.push(b't');
                    out.extend_from_slice(&u32::try_from(text.len()).expect("short").to_be_bytes());
                    out.extend_from_slice(text);
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(Value::Unchanged),
            "\\PC{0,20}".prop_map(|text| Value::Text(Bytes::from(text)))
        ]
    }

    fn tuple() -> impl Strategy<Value = Tuple> {
        prop::collection::vec(value(), 0..8)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>, in_stream: bool) {
            let _ = Message::decode(Bytes::from(bytes), in_stream);
        }

        #[test]
        fn bytes_that_begin_well_are_a_message_or_an_error(
            kind in prop::sample::select(b"BCORYIUDTMSEcAbPKrp".to_vec()), bytes: Vec<u8>, in_stream: bool
        ) {
            let mut message = vec![kind];
            message.extend(bytes);
            let _ = Message::decode(Bytes::from(message), in_stream);
        }

        #[test]
        fn an_update_says_what_it_was_made_of(
            relation: u32, xid in prop::option::of(any::<u32>()), full: bool, old in prop::option::of(tuple()), new in tuple(),
            cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = vec![b'U'];
            bytes.extend(xid.iter().flat_map(|xid| xid.to_be_bytes()));
            bytes.extend_from_slice(&relation.to_be_bytes());
            if let Some(old) = &old {
                bytes.push(if full { b'O' } else { b'K' });
                put_tuple(&mut bytes, old);
            }
            bytes.push(b'N');
            put_tuple(&mut bytes, &new);
            let old = old.map(|tuple| if full { OldRow::Full(tuple) } else { OldRow::Key(tuple) });
            let decoded = Message::decode(Bytes::from(bytes.clone()), xid.is_some());
            prop_assert_eq!(decoded, Ok((xid, Message::Update { relation, old, new })));
            let cut = cut.index(bytes.len());
            prop_assert!(Message::decode(Bytes::from(bytes[..cut].to_vec()), xid.is_some()).is_err());
        }
    }

    #[test]
    fn a_count_alone_takes_no_memory_and_a_rest_is_refused() {
        let truncate = [&b"T"[..], &u32::MAX.to_be_bytes(), &[0]].concat();
        assert_eq!(Message::decode(Bytes::from(truncate), false), Err(Malformed::CutOff("a relation")));
        let insert = [&b"I"[..], &7_u32.to_be_bytes(), b"N", &u16::MAX.to_be_bytes()].concat();
        assert_eq!(Message::decode(Bytes::from(insert), false), Err(Malformed::CutOff("a value")));
        assert_eq!(Message::decode(Bytes::from_static(b"Ex"), false), Err(Malformed::Rest(1)));
        assert_eq!(Message::decode(Bytes::from_static(b"P"), false), Err(Malformed::Unasked("a prepared transaction")));
    }
}
