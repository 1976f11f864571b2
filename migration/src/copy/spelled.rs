//! Rows of binary `COPY` in which text that spells a UUID becomes one. Pure.
//!
//! The form of the rows is that of PostgreSQL's manual, "COPY", "Binary Format": a header, rows of counted fields,
//! and a count of -1 at the end. They may come cut anywhere.
//!
//! Only the usual form is read, 8-4-4-4-12 hexadecimal digits in capitals or small letters. What is spelled
//! otherwise is [`Misspelled`], whether PostgreSQL can read it or not: it shall judge.

use uuid::Uuid;

/// A signature, flags of which none is set, and the length of an extension that has no content yet.
const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A UUID in its usual form.
const SPELLED_BYTES: usize = 36;

/// A value that is not a UUID in its usual form, or rows that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misspelled;

/// Converts rows as they come.
#[derive(Debug)]
pub(crate) struct SpelledRows {
    /// For each field whether it is to become a UUID.
    fields: Vec<bool>,
    header_read: bool,
    /// What came of a row whose rest is to come.
    cut: Vec<u8>,
}

/// What a look at the bytes from some place on came to.
enum Row {
    /// It ends there.
    Whole(usize),
    Cut,
}

impl SpelledRows {
    pub(crate) fn new(fields: Vec<bool>) -> Self {
        Self { fields, header_read: false, cut: Vec::new() }
    }

    /// Takes the next bytes, and adds all rows that are whole to `out`, converted.
    pub(crate) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Misspelled> {
        if self.cut.is_empty() {
            let used = self.convert(bytes, out)?;
            self.cut.extend_from_slice(&bytes[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.cut);
            joined.extend_from_slice(bytes);
            let used = self.convert(&joined, out)?;
            joined.drain(..used);
            self.cut = joined;
        }
        Ok(())
    }

    /// To be asked when all has come.
    pub(crate) fn end(&self) -> Result<(), Misspelled> {
        if self.cut.is_empty() { Ok(()) } else { Err(Misspelled) }
    }

    fn convert(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Misspelled> {
        let mut at = 0;
        if !self.header_read {
            let Some(header) = bytes.first_chunk() else { return Ok(0) };
            if *header != HEADER {
                return Err(Misspelled);
            }
            out.extend_from_slice(header);
            self.header_read = true;
            at = HEADER.len();
        }
        while at < bytes.len() {
            let before = out.len();
            match self.row(&bytes[at..], out)? {
                Row::Whole(length) => at += length,
                Row::Cut => {
                    out.truncate(before);
                    break;
                }
            }
        }
        Ok(at)
    }

    fn row(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Row, Misspelled> {
        let Some(count) = bytes.first_chunk().map(|count| i16::from_be_bytes(*count)) else { return Ok(Row::Cut) };
        out.extend_from_slice(&count.to_be_bytes());
        if count == -1 {
            return Ok(Row::Whole(2));
        }
        if usize::try_from(count) != Ok(self.fields.len()) {
            return Err(Misspelled);
        }
        let mut at = 2;
        // What has to be copied as it is, up to the next UUID.
        let mut copied = 2;
        for is_uuid in &self.fields {
            let Some(length) = bytes[at..].first_chunk().map(|length| i32::from_be_bytes(*length)) else {
                return Ok(Row::Cut);
            };
            let begin = at + 4;
            // A length of -1 is NULL, without a value.
            let length = usize::try_from(length).unwrap_or(0);
            let Some(value) = bytes.get(begin..begin + length) else { return Ok(Row::Cut) };
            at = begin + length;
            if *is_uuid && length > 0 {
                let uuid = spelled(value).ok_or(Misspelled)?;
                out.extend_from_slice(&bytes[copied..begin - 4]);
                out.extend_from_slice(&16_i32.to_be_bytes());
                out.extend_from_slice(uuid.as_bytes());
                copied = at;
            } else if *is_uuid && bytes[begin - 4..begin] == [0; 4] {
                // An empty text is no UUID.
                return Err(Misspelled);
            }
        }
        out.extend_from_slice(&bytes[copied..at]);
        Ok(Row::Whole(at))
    }
}

fn spelled(text: &[u8]) -> Option<Uuid> {
    if text.len() == SPELLED_BYTES { Uuid::try_parse_ascii(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPELLED: &str = "018bcfe5-6861-7A5b-8c4b-0123456789ab";

    fn field(value: Option<&[u8]>) -> Vec<u8> {
        match value {
            Some(value) => [&i32::try_from(value.len()).expect("short").to_be_bytes()[..], value].concat(),
            None => (-1_i32).to_be_bytes().to_vec(),
        }
    }

    fn rows(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for row in rows {
            bytes.extend(i16::try_from(row.len()).expect("few").to_be_bytes());
            bytes.extend(row.iter().flat_map(|value| field(value.as_deref())));
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    fn converted(fields: &[bool], pieces: &[&[u8]]) -> Result<Vec<u8>, Misspelled> {
        let (mut spelled, mut out) = (SpelledRows::new(fields.to_vec()), Vec::new());
        for piece in pieces {
            spelled.take(piece, &mut out)?;
        }
        spelled.end().map(|()| out)
    }

    proptest! {
        #[test]
        fn rows_are_converted_wherever_they_are_cut(
            drawn in prop::collection::vec((any::<Option<[u8; 16]>>(), any::<Option<Vec<u8>>>(), any::<[u8; 16]>()), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let spell = |uuid: [u8; 16]| Uuid::from_bytes(uuid).to_string().into_bytes();
            let row = |text: bool| drawn.iter().map(|(first, other, last)| {
                let value = |uuid: [u8; 16]| if text { spell(uuid) } else { uuid.to_vec() };
                vec![first.map(value), other.clone(), Some(value(*last))]
            }).collect::<Vec<_>>();
            let bytes = rows(&row(true));
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(converted(&[true, false, true], &pieces), Ok(rows(&row(false))));
        }

        #[test]
        fn whatever_comes_is_refused_or_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = converted(&[true, false], &[&bytes]);
        }
    }

    #[test]
    fn only_the_usual_form_is_read() {
        for (text, expected) in [
            (SPELLED, true),
            ("018BCFE5-6861-7A5B-8C4B-0123456789AB", true),
            ("", false),
            ("018bcfe568617a5b8c4b0123456789ab", false),
            ("{018bcfe5-6861-7a5b-8c4b-0123456789ab}", false),
            ("018bcfe5-6861-7a5b-8c4b-0123456789a", false),
            ("018bcfe5-6861-7a5b-8c4b-0123456789ag", false),
            ("018bcfe5 6861-7a5b-8c4b-0123456789ab", false),
            ("018bcfe56-861-7a5b-8c4b-0123456789ab", false),
            ("urn:uuid:018bcfe5-6861-7a5b-8c4b-012", false),
            ("{018bcfe568617a5b8c4b0123456789ab}  ", false),
        ] {
            let bytes = rows(&[vec![Some(text.as_bytes().to_vec())]]);
            assert_eq!(converted(&[true], &[&bytes]).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn rows_of_another_form_are_not_guessed_at() {
        let two = rows(&[vec![Some(SPELLED.into()), None]]);
        assert_eq!(converted(&[true], &[&two]), Err(Misspelled));
        assert_eq!(converted(&[true, false], &[&two[..two.len() - 3]]), Err(Misspelled));
        let with_ids = [&two[..12], &[1], &two[13..]].concat();
        assert_eq!(converted(&[true, false], &[&with_ids]), Err(Misspelled), "flags that nobody knows");
    }
}
