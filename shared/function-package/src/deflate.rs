//! Packs one file after the other, always in the same way.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use miniz_oxide::{
    MZError, MZFlush, MZStatus,
    deflate::{
        core::{CompressorOxide, create_comp_flags_from_zip_params},
        stream::deflate,
    },
};

use crate::inspect::Method;

const CHUNK_BYTES: usize = 64 * 1024;
/// The usual trade of time for size.
const LEVEL: i32 = 6;
/// Below zero: data without zlib's head and tail.
const WINDOW_BITS: i32 = -15;
const STRATEGY: i32 = 0;

/// How a file was packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    pub(crate) method: Method,
    pub(crate) crc32: u32,
    pub(crate) packed_bytes: u64,
    pub(crate) unpacked_bytes: u64,
}

impl Packed {
    pub(crate) const NOTHING: Self = Self { method: Method::Stored, crc32: 0, packed_bytes: 0, unpacked_bytes: 0 };
}

/// Packs with the same memory.
pub(crate) struct Packer {
    ratio: u32,
    compressor: CompressorOxide,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(ratio: u32) -> Self {
        Self {
            ratio,
            compressor: CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, WINDOW_BITS, STRATEGY)),
            input: vec![0; CHUNK_BYTES],
            output: vec![0; CHUNK_BYTES],
        }
    }

    /// Writes the file's content at `at`: deflated, or as it is where that is not smaller or suspiciously small. Such
    /// a file is read twice; what it was the second time counts.
    pub(crate) fn pack(&mut self, from: &File, to: &mut File, at: u64) -> io::Result<Packed> {
        to.seek(SeekFrom::Start(at))?;
        let packed = self.deflate(from, to)?;
        let too_small = packed.packed_bytes.saturating_mul(u64::from(self.ratio)) < packed.unpacked_bytes;
        if packed.packed_bytes < packed.unpacked_bytes && !too_small {
            return Ok(packed);
        }
        to.seek(SeekFrom::Start(at))?;
        self.store(from, to)
    }

    fn deflate(&mut self, mut from: &File, to: &mut File) -> io::Result<Packed> {
        self.compressor.reset();
        let mut packed = Packed { method: Method::Deflate, ..Packed::NOTHING };
        let mut crc32 = crc32fast::Hasher::new();
        loop {
            let read = read_full(&mut from, &mut self.input)?;
            let mut rest = &self.input[..read];
            crc32.update(rest);
            packed.unpacked_bytes += read as u64;
            let is_last = read < CHUNK_BYTES;
            let flush = if is_last { MZFlush::Finish } else { MZFlush::None };
            loop {
                let step = deflate(&mut self.compressor, rest, &mut self.output, flush);
                rest = &rest[step.bytes_consumed..];
                to.write_all(&self.output[..step.bytes_written])?;
                packed.packed_bytes += step.bytes_written as u64;
                match step.status {
                    Ok(MZStatus::StreamEnd) => {
                        packed.crc32 = crc32.finalize();
                        return Ok(packed);
                    }
                    Ok(_) if rest.is_empty() && !is_last => break,
                    Ok(_) => {}
                    Err(MZError::Buf) if rest.is_empty() && !is_last => break,
                    Err(error) => return Err(io::Error::other(format!("deflate failed: {error:?}"))),
                }
            }
        }
    }

    fn store(&mut self, mut from: &File, to: &mut File) -> io::Result<Packed> {
        from.rewind()?;
        let mut crc32 = crc32fast::Hasher::new();
        let mut bytes = 0;
        loop {
            let read = read_full(&mut from, &mut self.input)?;
            crc32.update(&self.input[..read]);
            to.write_all(&self.input[..read])?;
            bytes += read as u64;
            if read < CHUNK_BYTES {
                let crc32 = crc32.finalize();
                return Ok(Packed { method: Method::Stored, crc32, packed_bytes: bytes, unpacked_bytes: bytes });
            }
        }
    }
}

/// Reads until the buffer is full or the file ends: how a file came in pieces must not show in what is made of it.
fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
