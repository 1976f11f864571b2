//! A transaction that is streamed before it commits: in memory while it is small, then in a file
//! without a name, which ends with the process.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
};

use bytes::Bytes;

use crate::apply::Position;

/// Messages with the ids of the subtransactions that made them.
#[derive(Default)]
pub(crate) struct Spool {
    memory: Vec<(u32, Bytes)>,
    bytes: usize,
    file: Option<BufWriter<File>>,
    aborted: HashSet<u32>,
}

impl Spool {
    /// Keeps a message; beyond `memory_bytes` all go to a file.
    pub(crate) fn push(&mut self, subxid: u32, message: Bytes, memory_bytes: usize) -> io::Result<()> {
        self.bytes += message.len() + 32;
        self.memory.push((subxid, message));
        if self.bytes <= memory_bytes {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::with_capacity(256 << 10, tempfile::tempfile()?)),
        };
        for (subxid, message) in self.memory.drain(..) {
            file.write_all(&subxid.to_be_bytes())?;
            file.write_all(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes())?;
            file.write_all(&message)?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Leaves out what a subtransaction did.
    pub(crate) fn abort(&mut self, subxid: u32) {
        self.aborted.insert(subxid);
    }

    /// Reads it from the beginning.
    pub(crate) fn replay(self, position: Position) -> io::Result<Replay> {
        let file = match self.file {
            None => None,
            Some(file) => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                Some(BufReader::with_capacity(256 << 10, file))
            }
        };
        Ok(Replay { file, memory: self.memory.into_iter(), aborted: self.aborted, position })
    }
}

/// A streamed transaction that has committed.
pub(crate) struct Replay {
    file: Option<BufReader<File>>,
    memory: std::vec::IntoIter<(u32, Bytes)>,
    aborted: HashSet<u32>,
    /// Where it ended.
    pub(crate) position: Position,
}

impl Replay {
    /// The next message of what was not taken back.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        while let Some((subxid, message)) = self.any()? {
            if !self.aborted.contains(&subxid) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn any(&mut self) -> io::Result<Option<(u32, Bytes)>> {
        if let Some(file) = &mut self.file {
            let mut head = [0; 8];
            match file.read_exact(&mut head) {
                Ok(()) => {
                    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
                    let mut message = vec![0; number(4) as usize];
                    file.read_exact(&mut message)?;
                    return Ok(Some((number(0), message.into())));
                }
                Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => self.file = None,
                Err(error) => return Err(error),
            }
        }
        Ok(self.memory.next())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lsn::Lsn;

    proptest! {
        #[test]
        fn what_was_not_taken_back_comes_again_in_its_order(
            messages in prop::collection::vec((0_u32..4, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
            aborted: Option<bool>, memory_bytes in 0_usize..400
        ) {
            let mut spool = Spool::default();
            for (subxid, message) in &messages {
                spool.push(*subxid, message.clone().into(), memory_bytes).expect("a temporary file");
            }
            if aborted.is_some() {
                spool.abort(2);
            }
            let mut replay = spool.replay(Position { lsn: Lsn(1), committed_at: Some(0) }).expect("a temporary file");
            let mut found = Vec::new();
            while let Some(message) = replay.next().expect("a temporary file") {
                found.push(message.to_vec());
            }
            let expected: Vec<Vec<u8>> = messages
                .into_iter()
                .filter(|(subxid, _)| aborted.is_none() || *subxid != 2)
                .map(|(_, message)| message)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
