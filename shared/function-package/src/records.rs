//! The records of a ZIP file as they lie in it: fixed parts, little-endian.
//!
//! Source: APPNOTE.TXT, the ZIP File Format Specification by PKWARE, version 6.3.10, section 4.3.

use std::io::{self, Read};

pub(crate) const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
pub(crate) const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
pub(crate) const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;
pub(crate) const END_SIGNATURE: u32 = 0x0605_4b50;
pub(crate) const END64_SIGNATURE: u32 = 0x0606_4b50;
pub(crate) const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;

pub(crate) const LOCAL_BYTES: usize = 30;
pub(crate) const CENTRAL_BYTES: usize = 46;
pub(crate) const END_BYTES: usize = 22;
pub(crate) const END64_BYTES: usize = 56;
pub(crate) const LOCATOR_BYTES: usize = 20;

/// In these fields a value that says "see the Zip64 record".
pub(crate) const SEE_ZIP64: u32 = u32::MAX;
pub(crate) const SEE_ZIP64_SHORT: u16 = u16::MAX;

/// Flag bits of an entry (APPNOTE 4.4.4).
pub(crate) mod flags {
    pub(crate) const ENCRYPTED: u16 = 1;
    pub(crate) const DESCRIPTOR: u16 = 1 << 3;
    pub(crate) const STRONG_ENCRYPTION: u16 = 1 << 6;
    pub(crate) const UTF_8: u16 = 1 << 11;
    pub(crate) const MASKED_HEADERS: u16 = 1 << 13;
    /// How hard the sender's Deflate tried; it changes nothing for the reader.
    pub(crate) const EFFORT: u16 = 0b110;
}

/// A fixed part, read whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<const N: usize>([u8; N]);

impl<const N: usize> Record<N> {
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The record at this place of `bytes`, when they reach that far.
    pub(crate) fn at(bytes: &[u8], place: usize) -> Option<Self> {
        bytes.get(place..)?.first_chunk().map(|bytes| Self(*bytes))
    }

    /// The fields are at constant places inside the record.
    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }
}
