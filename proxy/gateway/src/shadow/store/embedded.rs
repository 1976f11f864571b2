//! Mismatches in a folder: segments of JSON lines, of which the oldest is removed as a whole.
//!
//! A line is written with one call and is whole or torn; a torn one, from a process that was killed, is
//! skipped when it is read, and nothing is ever written behind it. Nothing is synced to the disk: losing the
//! last mismatches in a power failure costs nobody anything.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::Utc;
use uuid::Uuid;

use super::{
    Store, StoreError,
    mismatch::{ClusterCount, ClusterCounts, Mismatch, Summary},
};
use crate::config::MismatchesConfig;

/// The whole is removed in this many parts.
const SEGMENTS: u64 = 8;
const CLUSTERS: &str = "clusters.json";

/// See the module.
pub(super) struct EmbeddedStore {
    folder: PathBuf,
    keep: Duration,
    most: usize,
    most_bytes: u64,
    segments: VecDeque<Segment>,
    /// The last segment, once this process has written to it.
    writing: Option<File>,
    clusters: ClusterCounts,
}

struct Segment {
    number: u64,
    bytes: u64,
    lines: Vec<Line>,
}

/// Where a mismatch is, and what lists show of it.
struct Line {
    offset: u64,
    bytes: usize,
    summary: Summary,
}

impl EmbeddedStore {
    /// Opens the folder, which is made if need be.
    pub(super) fn open(config: &MismatchesConfig) -> io::Result<Self> {
        let folder = config.folder.clone();
        // What was compared may be private, also after redaction.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut numbers: Vec<u64> = fs::read_dir(&folder)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".jsonl")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let segments = numbers.into_iter().map(|number| Segment::read(&folder, number)).collect::<io::Result<_>>()?;
        // Counts that cannot be read are counts from now on.
        let clusters = fs::read(folder.join(CLUSTERS)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Self {
            folder,
            keep: config.keep.get(),
            most: config.max_stored,
            most_bytes: config.max_stored_bytes.bytes(),
            segments,
            writing: None,
            clusters: ClusterCounts::new(clusters.unwrap_or_default()),
        })
    }

    fn write(&mut self, mismatch: &Mismatch) -> io::Result<()> {
        let mut line = serde_json::to_vec(mismatch)?;
        line.push(b'\n');
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let full = |segment: &Segment| segment.bytes.saturating_add(bytes) > self.most_bytes / SEGMENTS;
        if self.writing.is_none() || self.segments.back().is_none_or(full) {
            let after = self.segments.back().map_or(1, |segment| segment.number + 1);
            let (number, new) = self.new_segment(after)?;
            self.writing = Some(new);
            self.segments.push_back(Segment { number, bytes: 0, lines: Vec::new() });
        }
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else { return Ok(()) };
        if let Err(error) = file.write_all(&line) {
            // Perhaps a part was written: the next line begins a segment.
            self.writing = None;
            return Err(error);
        }
        segment.lines.push(Line { offset: segment.bytes, bytes: line.len(), summary: mismatch.summary() });
        segment.bytes += bytes;
        Ok(())
    }

    /// A file with a number that nobody has taken: at an upgrade, two processes write for a moment.
    fn new_segment(&self, mut number: u64) -> io::Result<(u64, File)> {
        loop {
            let new = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path(&self.folder, number));
            match new {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                new => return Ok((number, new?)),
            }
        }
    }

    fn has(&self, id: Uuid) -> bool {
        self.lines().any(|(_, line)| line.summary.id == id)
    }

    /// The latest first.
    fn lines(&self) -> impl Iterator<Item = (&Segment, &Line)> {
        self.segments.iter().rev().flat_map(|segment| segment.lines.iter().rev().map(move |line| (segment, line)))
    }

    fn keep_clusters(&self) -> io::Result<()> {
        let new = self.folder.join("clusters.json.new");
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self.clusters.all())?)?;
        fs::rename(new, self.folder.join(CLUSTERS))
    }

    /// Whether the oldest segment is over the bounds by itself: without it there is still enough.
    fn has_too_much(&self) -> bool {
        let Some(oldest) = self.segments.front() else { return false };
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let lines: usize = self.segments.iter().map(|segment| segment.lines.len()).sum();
        let ended = || {
            let last = oldest.lines.last().map(|line| line.summary.at);
            last.is_none_or(|last| (Utc::now() - last).to_std().is_ok_and(|age| age > self.keep))
        };
        bytes > self.most_bytes || lines > self.most.saturating_add(oldest.lines.len()) || ended()
    }
}

impl Store for EmbeddedStore {
    fn append(&mut self, mismatches: &[Mismatch], counted: &[ClusterCount]) -> Result<(), StoreError> {
        for mismatch in mismatches {
            if !self.has(mismatch.id) {
                self.write(mismatch)?;
            }
        }
        counted.iter().for_each(|counted| self.clusters.add(counted.clone()));
        Ok(self.keep_clusters()?)
    }

    fn prune(&mut self) -> Result<(), StoreError> {
        while self.has_too_much() {
            let Some(oldest) = self.segments.pop_front() else { break };
            if self.segments.is_empty() {
                self.writing = None;
            }
            match fs::remove_file(path(&self.folder, oldest.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn get(&mut self, id: Uuid) -> Result<Option<Mismatch>, StoreError> {
        let Some((segment, line)) = self.lines().find(|(_, line)| line.summary.id == id) else { return Ok(None) };
        let mut file = File::open(path(&self.folder, segment.number))?;
        file.seek(SeekFrom::Start(line.offset))?;
        let mut text = vec![0; line.bytes];
        file.read_exact(&mut text)?;
        Ok(Some(serde_json::from_slice(&text).map_err(io::Error::from)?))
    }

    fn latest(&mut self, route: Option<&str>, limit: usize) -> Result<Vec<Summary>, StoreError> {
        let lines = self.lines().map(|(_, line)| &line.summary);
        let wanted = lines.filter(|summary| route.is_none_or(|route| summary.route == route));
        Ok(wanted.take(limit.min(self.most)).cloned().collect())
    }

    fn clusters(&mut self) -> Result<Vec<ClusterCount>, StoreError> {
        Ok(self.clusters.all().to_vec())
    }
}

impl Segment {
    fn read(folder: &Path, number: u64) -> io::Result<Self> {
        let mut reader = BufReader::new(File::open(path(folder, number))?);
        let mut segment = Self { number, bytes: 0, lines: Vec::new() };
        let mut text = Vec::new();
        loop {
            text.clear();
            let bytes = reader.read_until(b'\n', &mut text)?;
            if bytes == 0 {
                return Ok(segment);
            }
            match serde_json::from_slice::<Mismatch>(&text) {
                Ok(mismatch) => {
                    segment.lines.push(Line { offset: segment.bytes, bytes, summary: mismatch.summary() });
                }
                Err(error) => tracing::warn!(number, %error, "a torn line among the mismatches is skipped"),
            }
            segment.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        }
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.jsonl"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use layered_config::{ByteSize, HumanDuration};

    use super::*;
    use crate::shadow::store::mismatch::example as mismatch;

    fn config(folder: &Path) -> MismatchesConfig {
        MismatchesConfig {
            folder: folder.join("kept"),
            max_stored: 100,
            max_stored_bytes: ByteSize::from_kib(40),
            ..MismatchesConfig::default()
        }
    }

    fn append(store: &mut EmbeddedStore, mismatch: &Mismatch) {
        let counted: Vec<_> = ClusterCount::of(mismatch).collect();
        store.append(std::slice::from_ref(mismatch), &counted).unwrap();
        store.prune().unwrap();
    }

    fn bytes(folder: &Path) -> u64 {
        fs::read_dir(folder.join("kept")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn number_bytes_and_age_have_bounds_and_counts_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = EmbeddedStore::open(&config(folder.path())).unwrap();
        let all: Vec<Mismatch> = (0..400).map(mismatch).collect();
        for mismatch in &all {
            append(&mut store, mismatch);
            assert!(bytes(folder.path()) <= 41 * 1_024 + 2_000);
        }
        let kept = store.latest(None, 1_000).unwrap();
        assert!(kept.len() <= 100 && kept[0].id == all[399].id, "{}", kept.len());
        assert!(store.latest(Some("odd"), 5).unwrap().iter().all(|summary| summary.route == "odd"));
        assert_eq!(store.get(all[399].id).unwrap().as_ref(), Some(&all[399]));
        assert_eq!(store.get(all[0].id).unwrap(), None);
        let counted: u64 = store.clusters().unwrap().iter().map(|cluster| cluster.count).sum();
        assert_eq!(counted, 400);

        let short = MismatchesConfig { keep: HumanDuration::from_millis(1), ..config(folder.path()) };
        let mut store = EmbeddedStore::open(&short).unwrap();
        assert_eq!(store.latest(None, 1_000).unwrap(), kept);
        while !store.latest(None, 1).unwrap().is_empty() {
            store.prune().unwrap();
        }
    }

    #[test]
    fn a_torn_line_costs_itself_only_and_nothing_is_kept_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (mismatch(1), mismatch(2));
        let mut store = EmbeddedStore::open(&config(folder.path())).unwrap();
        append(&mut store, &one);
        append(&mut store, &one);
        assert_eq!(store.latest(None, 9).unwrap().len(), 1);
        let segment = path(&folder.path().join("kept"), 1);
        let line = serde_json::to_vec(&two).unwrap();
        OpenOptions::new().append(true).open(&segment).unwrap().write_all(&line[..line.len() / 2]).unwrap();
        let mut store = EmbeddedStore::open(&config(folder.path())).unwrap();
        append(&mut store, &two);
        let mut store = EmbeddedStore::open(&config(folder.path())).unwrap();
        let ids: BTreeSet<Uuid> = store.latest(None, 9).unwrap().iter().map(|summary| summary.id).collect();
        assert_eq!(ids, BTreeSet::from([one.id, two.id]));
        assert_eq!(store.get(two.id).unwrap(), Some(two));
    }
}
