//! The journal: what was answered, on this machine's disk until the database has it.
//!
//! A folder of segments, `00000000000000000001.journal` and so on, each a sequence of lines
//! `CHECKSUM JSON`. A line is handed to the kernel by one `write` before the answer leaves, so it
//! outlives the process. It is not synced: a machine that loses power may lose the last lines, as
//! the answers in flight are lost then. A line cut short by a crash belongs to a call that was
//! never answered, and is skipped.
//!
//! A segment is deleted once all its lines are in the database. What is left at a start is read
//! back; a line that the database already has is recognised there by its id. A line whose checksum
//! is wrong is skipped and counted, and its segment is kept as `*.damaged` for a person to look at.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::Record;

const SEGMENT_SUFFIX: &str = "journal";
const DAMAGED_SUFFIX: &str = "damaged";
const LOCK_FILE: &str = "lock";
const CHECKSUM_CHARS: usize = 16;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("journal {path}: {operation} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has it.
    #[error("journal {0} is in use by another process; give every instance a `recorder.journal` folder of its own")]
    InUse(PathBuf),
}

/// Names a segment; segments are numbered in the order they were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId(u64);

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    /// Lines that the database does not have yet.
    outstanding: usize,
}

/// What a start found.
#[derive(Debug, Default)]
pub struct Replay {
    /// Records in the order they were written, each id once.
    pub records: Vec<(SegmentId, Record)>,
    /// Lines whose checksum or content was wrong.
    pub damaged_lines: usize,
    /// Segments that ended in the middle of a line.
    pub cut_tails: usize,
}

/// The journal of one process.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    segment_bytes: u64,
    segments: BTreeMap<SegmentId, Segment>,
    active: Option<(SegmentId, File)>,
    next: SegmentId,
    /// Locked for as long as the process lives.
    _lock: File,
}

impl Journal {
    /// Opens the journal in `folder`, which is made when it does not exist, and reads what an
    /// earlier process left. A segment is closed when it holds `segment_bytes`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(folder: &Path, segment_bytes: u64) -> Result<(Self, Replay), JournalError> {
        fs::create_dir_all(folder).map_err(failed("making the folder", folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed("opening the lock", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => JournalError::InUse(folder.to_owned()),
            fs::TryLockError::Error(source) => failed("locking", &lock_path)(source),
        })?;

        let mut journal = Self {
            folder: folder.to_owned(),
            segment_bytes,
            segments: BTreeMap::new(),
            active: None,
            next: SegmentId(1),
            _lock: lock,
        };
        let replay = journal.read_back()?;
        Ok((journal, replay))
    }

    /// Appends one record. When this returns, the record outlives the process.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses; nothing of the record is kept then.
    pub fn append(&mut self, record: &Record) -> Result<SegmentId, JournalError> {
        let line = encode(record);
        let id = self.writable_segment()?;
        let (_, file) = self.active.as_mut().expect("a writable segment is open");
        let segment = self.segments.entry(id).or_default();
        if let Err(source) = file.write_all(&line) {
            // Half a line would make the next one unreadable: cut it off, and leave the segment.
            let cut = file.set_len(segment.bytes);
            self.active = None;
            if cut.is_err() {
                tracing::warn!(segment = id.0, "a partly written journal line could not be cut off");
            }
            self.forget_if_done(id);
            return Err(failed("appending", &self.path(id))(source));
        }
        segment.bytes += line.len() as u64;
        segment.outstanding += 1;
        Ok(id)
    }

    /// The database has one record of this segment now.
    pub fn settled(&mut self, id: SegmentId) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.outstanding = segment.outstanding.saturating_sub(1);
        }
        self.forget_if_done(id);
    }

    /// Bytes that the segments hold.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Deletes what is not needed any more, at a clean stop.
    pub fn close(&mut self) {
        if let Some((id, _)) = self.active.take() {
            self.forget_if_done(id);
        }
    }

    fn writable_segment(&mut self) -> Result<SegmentId, JournalError> {
        if let Some((id, _)) = &self.active {
            let id = *id;
            if self.segments.get(&id).is_none_or(|segment| segment.bytes < self.segment_bytes) {
                return Ok(id);
            }
            self.active = None;
            self.forget_if_done(id);
        }
        let id = self.next;
        let path = self.path(id);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("beginning a segment", &path))?;
        self.next = SegmentId(id.0 + 1);
        self.segments.insert(id, Segment::default());
        self.active = Some((id, file));
        Ok(id)
    }

    fn forget_if_done(&mut self, id: SegmentId) {
        let is_active = self.active.as_ref().is_some_and(|(active, _)| *active == id);
        if is_active || self.segments.get(&id).is_none_or(|segment| segment.outstanding > 0) {
            return;
        }
        self.segments.remove(&id);
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path) {
            // Its records will be read again at the next start, and recognised.
            tracing::warn!(path = %path.display(), error = %error, "a journal segment could not be deleted");
        }
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.folder.join(format!("{:020}.{SEGMENT_SUFFIX}", id.0))
    }

    fn read_back(&mut self) -> Result<Replay, JournalError> {
        let mut replay = Replay::default();
        let mut seen = HashSet::new();
        for id in self.segments_on_disk()? {
            let path = self.path(id);
            let content = fs::read(&path).map_err(failed("reading", &path))?;
            let lines = decode(&content);
            replay.cut_tails += usize::from(lines.is_cut);
            replay.damaged_lines += lines.damaged;
            self.next = SegmentId(id.0 + 1);
            if lines.damaged > 0 {
                let kept = path.with_extension(DAMAGED_SUFFIX);
                fs::copy(&path, &kept).map_err(failed("keeping a damaged segment", &kept))?;
                tracing::error!(path = %kept.display(), lines = lines.damaged, "journal lines are damaged; they were skipped");
            }
            let records: Vec<_> = lines.records.into_iter().filter(|record| seen.insert(record.id)).collect();
            self.segments.insert(id, Segment { bytes: content.len() as u64, outstanding: records.len() });
            replay.records.extend(records.into_iter().map(|record| (id, record)));
            self.forget_if_done(id);
        }
        Ok(replay)
    }

    fn segments_on_disk(&self) -> Result<Vec<SegmentId>, JournalError> {
        let listing = failed("listing", &self.folder);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&listing)? {
            let path = entry.map_err(&listing)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), true) = (number, path.extension().is_some_and(|suffix| suffix == SEGMENT_SUFFIX)) {
                ids.push(SegmentId(number));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> JournalError + use<'a> {
    move |source| JournalError::Io { operation, path: path.to_owned(), source }
}

fn encode(record: &Record) -> Vec<u8> {
    let json = serde_json::to_string(record).expect("a record is plain data");
    format!("{} {json}\n", checksum(json.as_bytes())).into_bytes()
}

fn checksum(json: &[u8]) -> String {
    blake3::hash(json).to_hex()[..CHECKSUM_CHARS].to_owned()
}

#[derive(Debug, Default)]
struct Lines {
    records: Vec<Record>,
    damaged: usize,
    is_cut: bool,
}

fn decode(content: &[u8]) -> Lines {
    let mut lines = Lines::default();
    let mut rest = content;
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            lines.is_cut = true;
            break;
        };
        match decode_line(&rest[..end]) {
            Some(record) => lines.records.push(record),
            None => lines.damaged += 1,
        }
        rest = &rest[end + 1..];
    }
    lines
}

fn decode_line(line: &[u8]) -> Option<Record> {
    let (expected, json) = line.split_at_checked(CHECKSUM_CHARS)?;
    let json = json.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == expected).then(|| serde_json::from_slice(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recorder::tests::record;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
            .filter(|name| name != LOCK_FILE)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_appended_is_read_back_in_order_until_it_is_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let records: Vec<_> = (0..50).map(|_| record()).collect();
        let (mut journal, replay) = Journal::open(folder.path(), 1_000).expect("it opens");
        assert!(replay.records.is_empty());
        for record in &records {
            journal.append(record).expect("it is written");
        }
        assert!(names(folder.path()).len() > 1, "segments are closed when they are full");
        drop(journal);

        let (mut journal, replay) = Journal::open(folder.path(), 1_000).expect("it opens again");
        assert_eq!(replay.records.iter().map(|(_, record)| record.clone()).collect::<Vec<_>>(), records);
        for (segment, _) in &replay.records[..25] {
            journal.settled(*segment);
        }
        assert!(!names(folder.path()).is_empty());
        for (segment, _) in &replay.records[25..] {
            journal.settled(*segment);
        }
        assert_eq!(names(folder.path()), Vec::<String>::new());
        assert_eq!(journal.bytes(), 0);
    }

    #[test]
    fn a_segment_in_use_is_kept_until_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = Journal::open(folder.path(), 1 << 20).expect("it opens");
        let segment = journal.append(&record()).expect("it is written");
        journal.settled(segment);
        assert_eq!(names(folder.path()).len(), 1);
        journal.close();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = Journal::open(folder.path(), 1_000).expect("it opens");
        assert!(matches!(Journal::open(folder.path(), 1_000), Err(JournalError::InUse(_))));
    }

    #[test]
    fn a_damaged_line_costs_itself_only_and_leaves_a_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let records: Vec<_> = (0..3).map(|_| record()).collect();
        let mut content: Vec<u8> = records.iter().flat_map(encode).collect();
        let middle = encode(&records[0]).len() + 30;
        content[middle] ^= 1;
        fs::write(folder.path().join("00000000000000000007.journal"), content).expect("written");

        let (journal, replay) = Journal::open(folder.path(), 1_000).expect("it opens");
        let ids: Vec<_> = replay.records.iter().map(|(_, record)| record.id).collect();
        assert_eq!(ids, [records[0].id, records[2].id]);
        assert_eq!(replay.damaged_lines, 1);
        assert!(names(folder.path()).contains(&"00000000000000000007.damaged".to_owned()));
        assert_eq!(journal.next, SegmentId(8), "numbers are not used twice");
    }

    proptest! {
        /// Wherever a crash cuts the file, every whole line survives and nothing is invented.
        #[test]
        fn a_cut_loses_the_last_line_only(count in 1_usize..20, share in 0.0_f64..1.0) {
            let records: Vec<_> = (0..count).map(|_| record()).collect();
            let encoded: Vec<Vec<u8>> = records.iter().map(encode).collect();
            let content: Vec<u8> = encoded.concat();
            #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a share of a small length")]
            let cut = (content.len() as f64 * share) as usize;
            let mut whole = 0;
            let mut end = 0;
            for line in &encoded {
                end += line.len();
                whole += usize::from(end <= cut);
            }
            let lines = decode(&content[..cut]);
            prop_assert_eq!(lines.records, &records[..whole]);
            prop_assert_eq!(lines.damaged, 0);
        }

        /// Whatever is on the disk, reading it does not panic.
        #[test]
        fn any_bytes_can_be_read(content in proptest::collection::vec(any::<u8>(), 0..500)) {
            decode(&content);
        }
    }
}
