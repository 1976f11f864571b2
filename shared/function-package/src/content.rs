//! An entry's data: unpacked, counted and checked while it is read.

use std::io::{self, Read, Seek, SeekFrom};

use miniz_oxide::{
    DataFormat, MZError, MZFlush, MZStatus,
    inflate::stream::{InflateState, ZeroReset, inflate},
};

use crate::{Entry, PackageError, Problem, Refusal, error::reading, inspect::Method};

/// What is held in memory of any entry, twice.
const CHUNK_BYTES: usize = 64 * 1024;

/// Takes the pieces of a file as they are unpacked.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), PackageError>;

/// Reads one entry after the other, with the same memory.
pub(crate) struct ContentReader {
    input: Vec<u8>,
    output: Vec<u8>,
    state: Box<InflateState>,
}

impl ContentReader {
    pub(crate) fn new() -> Self {
        Self {
            input: vec![0; CHUNK_BYTES],
            output: vec![0; CHUNK_BYTES],
            state: InflateState::new_boxed(DataFormat::Raw),
        }
    }

    /// Hands the entry's content to `sink`, piece by piece, never more than was promised. An error means that what
    /// was handed on is not to be used.
    pub(crate) fn read(
        &mut self,
        archive: &mut (impl Read + Seek),
        entry: &Entry,
        sink: Sink<'_>,
    ) -> Result<(), PackageError> {
        archive.seek(SeekFrom::Start(entry.data_at)).map_err(reading)?;
        let mut packed = archive.take(entry.packed_bytes);
        let mut checked = Checked { entry, seen: 0, crc32: crc32fast::Hasher::new(), sink };
        match entry.method {
            Method::Stored => self.copy(&mut packed, &mut checked)?,
            Method::Deflate => self.expand(&mut packed, &mut checked)?,
        }
        checked.finish()
    }

    fn copy(&mut self, packed: &mut impl Read, checked: &mut Checked<'_>) -> Result<(), PackageError> {
        loop {
            let read = read_some(packed, &mut self.input)?;
            if read == 0 {
                return Ok(());
            }
            checked.take(&self.input[..read])?;
        }
    }

    fn expand(&mut self, packed: &mut impl Read, checked: &mut Checked<'_>) -> Result<(), PackageError> {
        // The window is cleared too: no distance may lead into the entry before.
        self.state.reset_as(ZeroReset);
        let (mut from, mut to) = (0, 0);
        loop {
            if from == to {
                (from, to) = (0, read_some(packed, &mut self.input)?);
            }
            let step = inflate(&mut self.state, &self.input[from..to], &mut self.output, MZFlush::None);
            from += step.bytes_consumed;
            checked.take(&self.output[..step.bytes_written])?;
            match step.status {
                Ok(MZStatus::StreamEnd) => break,
                Ok(_) if step.bytes_consumed > 0 || step.bytes_written > 0 => {}
                // No progress and nothing more to read: the data has no end.
                Ok(_) | Err(MZError::Buf) if to == 0 => return Err(checked.too_short()),
                Ok(_) | Err(_) => return Err(checked.refuse(Problem::DataCorrupt)),
            }
        }
        let left = (to - from) as u64 + io::copy(packed, &mut io::sink()).map_err(reading)?;
        if left > 0 {
            return Err(checked.refuse(Problem::DataAfterEnd { bytes: left }));
        }
        Ok(())
    }
}

/// Counts and sums what passes.
struct Checked<'a> {
    entry: &'a Entry,
    seen: u64,
    crc32: crc32fast::Hasher,
    sink: Sink<'a>,
}

impl Checked<'_> {
    fn take(&mut self, piece: &[u8]) -> Result<(), PackageError> {
        self.seen += piece.len() as u64;
        if self.seen > self.entry.unpacked_bytes {
            return Err(self.refuse(Problem::MoreDataThanSaid { said: self.entry.unpacked_bytes }));
        }
        self.crc32.update(piece);
        (self.sink)(piece)
    }

    fn finish(self) -> Result<(), PackageError> {
        if self.seen < self.entry.unpacked_bytes {
            return Err(self.too_short());
        }
        if self.crc32.clone().finalize() != self.entry.crc32 {
            return Err(self.refuse(Problem::WrongChecksum));
        }
        Ok(())
    }

    fn too_short(&self) -> PackageError {
        self.refuse(Problem::LessDataThanSaid { said: self.entry.unpacked_bytes, found: self.seen })
    }

    fn refuse(&self, problem: Problem) -> PackageError {
        Refusal::of_entry(self.entry.path.as_bytes(), problem).into()
    }
}

fn read_some(from: &mut impl Read, into: &mut [u8]) -> Result<usize, PackageError> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(reading),
        }
    }
}
