//! Takes a message apart, and never reads beyond its end.

use bytes::{Buf, Bytes};

use crate::lsn::Lsn;

/// A message that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("a message that is cut off at {0}")]
    CutOff(&'static str),
    /// Something in it is none of what may be there.
    #[error("{0:#04x} is no {1}")]
    Unknown(u8, &'static str),
    /// Text that is not UTF-8, although the connection asked for it.
    #[error("{0} that is not UTF-8")]
    NotText(&'static str),
    /// Bytes that nothing stands for.
    #[error("{0} bytes after the end of a message")]
    Rest(usize),
    /// Something that was not asked for.
    #[error("{0}, which was not asked for")]
    Unasked(&'static str),
}

/// A message that is being read.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed::CutOff(what))
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.0.try_get_u16().map_err(|_| Malformed::CutOff(what))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed::CutOff(what))
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed::CutOff(what))
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed::CutOff(what))
    }

    pub(super) fn lsn(&mut self, what: &'static str) -> Result<Lsn, Malformed> {
        self.0.try_get_u64().map(Lsn).map_err(|_| Malformed::CutOff(what))
    }

    /// Text up to a NUL.
    pub(super) fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let end = memchr::memchr(0, &self.0).ok_or(Malformed::CutOff(what))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::NotText(what))
    }

    /// As many bytes as the number before them says.
    pub(super) fn counted(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let length = self.u32(what)? as usize;
        if length > self.0.len() {
            return Err(Malformed::CutOff(what));
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Rest(self.0.len())) }
    }
}
