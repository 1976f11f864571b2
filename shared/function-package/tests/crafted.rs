//! Archives made byte by byte, so that any field can lie.

/// One entry: what the directory says of it, what its own header says, and what is really there.
#[derive(Clone, Default)]
pub struct Entry {
    pub directory: Header,
    pub own: Header,
    /// The bytes between the headers.
    pub data: Vec<u8>,
    /// The record after the data.
    pub descriptor: Vec<u8>,
    /// Bytes before its own header that belong to nothing.
    pub gap: Vec<u8>,
    /// Where the directory says that its own header is, when that is not where it is.
    pub header_at: Option<u32>,
    pub attributes: u32,
    pub made_by: u16,
    pub disk: u16,
    /// Its own header and data are left out.
    pub only_in_directory: bool,
}

/// What both kinds of header hold.
#[derive(Clone, Default)]
pub struct Header {
    pub name: Vec<u8>,
    pub extra: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub crc32: u32,
    pub packed: u32,
    pub unpacked: u32,
}

/// What the end says; `None` is the truth.
#[derive(Clone, Default)]
pub struct End {
    pub disk: u16,
    pub entries: Option<u16>,
    pub entries_here: Option<u16>,
    pub directory_bytes: Option<u32>,
    pub directory_at: Option<u32>,
    pub comment: Vec<u8>,
    pub zip64: Option<End64>,
}

/// The Zip64 records before the end.
#[derive(Clone, Default)]
pub struct End64 {
    pub size: Option<u64>,
    pub entries: Option<u64>,
    pub directory_at: Option<u64>,
    pub record_at: Option<u64>,
    pub disks: Option<u32>,
    /// More bytes at the record's end.
    pub sector: Vec<u8>,
}

pub const REGULAR: u32 = 0o100_644 << 16;
pub const STORED: u16 = 0;
pub const DEFLATE: u16 = 8;

impl Entry {
    /// A file, deflated.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        Self::packed(name, DEFLATE, deflated(content), content)
    }

    /// A file, as it is.
    pub fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::packed(name, STORED, content.as_ref().to_vec(), content.as_ref())
    }

    pub fn packed(name: impl AsRef<[u8]>, method: u16, data: Vec<u8>, content: &[u8]) -> Self {
        let header = Header {
            name: name.as_ref().to_vec(),
            method,
            crc32: crc32fast::hash(content),
            packed: u32::try_from(data.len()).unwrap(),
            unpacked: u32::try_from(content.len()).unwrap(),
            ..Header::default()
        };
        let made_by = 3 << 8 | 20;
        Self { directory: header.clone(), own: header, data, attributes: REGULAR, made_by, ..Self::default() }
    }

    pub fn folder(name: impl AsRef<[u8]>) -> Self {
        Self { attributes: 0o040_755 << 16 | 0x10, ..Self::stored(name, "") }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { attributes: mode << 16, ..self }
    }

    /// Changes both headers alike.
    pub fn both(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.directory);
        change(&mut self.own);
        self
    }

    /// Changes anything.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// As tools write that do not know the sizes beforehand.
    pub fn streamed(self) -> Self {
        self.both(|header| header.flags |= 1 << 3).with(|entry| {
            let Header { crc32, packed, unpacked, .. } = entry.directory;
            entry.descriptor = [0x0807_4b50, crc32, packed, unpacked].map(u32::to_le_bytes).concat();
            entry.own = Header { crc32: 0, packed: 0, unpacked: 0, ..entry.own.clone() };
        })
    }
}

/// Raw Deflate data, the same bytes whatever else is built along: the sizes are in the refusals' texts.
pub fn deflated(content: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(content, 6)
}

/// An extra field of this id.
pub fn extra(id: u16, data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [&id.to_le_bytes()[..], &u16::try_from(data.len()).unwrap().to_le_bytes(), data].concat()
}

/// Eight bytes each.
pub fn longs<const N: usize>(values: [u64; N]) -> Vec<u8> {
    values.map(u64::to_le_bytes).concat()
}

/// The whole file.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    archive_ending(entries, &End::default())
}

pub fn archive_ending(entries: &[Entry], end: &End) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        file.extend(&entry.gap);
        let at = u32::try_from(file.len()).unwrap();
        if !entry.only_in_directory {
            let own = &entry.own;
            file.extend(b"PK\x03\x04\x14\x00");
            push_common(&mut file, own);
            file.extend(&own.name);
            file.extend(&own.extra);
            file.extend(&entry.data);
            file.extend(&entry.descriptor);
        }
        directory.extend(b"PK\x01\x02");
        directory.extend(entry.made_by.to_le_bytes());
        directory.extend(b"\x14\x00");
        push_common(&mut directory, &entry.directory);
        directory.extend(0_u16.to_le_bytes());
        directory.extend(entry.disk.to_le_bytes());
        directory.extend(0_u16.to_le_bytes());
        directory.extend(entry.attributes.to_le_bytes());
        directory.extend(entry.header_at.unwrap_or(at).to_le_bytes());
        directory.extend(&entry.directory.name);
        directory.extend(&entry.directory.extra);
    }
    let at = file.len();
    file.extend(&directory);
    push_end(&mut file, entries.len(), at, directory.len(), end);
    file
}

fn push_common(file: &mut Vec<u8>, header: &Header) {
    for short in [header.flags, header.method, 0, 0x21] {
        file.extend(short.to_le_bytes());
    }
    for long in [header.crc32, header.packed, header.unpacked] {
        file.extend(long.to_le_bytes());
    }
    for length in [header.name.len(), header.extra.len()] {
        file.extend(u16::try_from(length).unwrap().to_le_bytes());
    }
}

fn push_end(file: &mut Vec<u8>, entries: usize, at: usize, bytes: usize, end: &End) {
    if let Some(end64) = &end.zip64 {
        let record_at = file.len() as u64;
        let count = end64.entries.unwrap_or(entries as u64);
        file.extend(b"PK\x06\x06");
        file.extend(end64.size.unwrap_or(44 + end64.sector.len() as u64).to_le_bytes());
        file.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(longs([count, count, bytes as u64, end64.directory_at.unwrap_or(at as u64)]));
        file.extend(&end64.sector);
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end64.record_at.unwrap_or(record_at).to_le_bytes());
        file.extend(end64.disks.unwrap_or(1).to_le_bytes());
    }
    let count = end.entries.unwrap_or(u16::try_from(entries).unwrap_or(u16::MAX));
    file.extend(b"PK\x05\x06");
    for short in [end.disk, end.disk, end.entries_here.unwrap_or(count), count] {
        file.extend(short.to_le_bytes());
    }
    file.extend(end.directory_bytes.unwrap_or(u32::try_from(bytes).unwrap()).to_le_bytes());
    file.extend(end.directory_at.unwrap_or(u32::try_from(at).unwrap()).to_le_bytes());
    file.extend(u16::try_from(end.comment.len()).unwrap().to_le_bytes());
    file.extend(&end.comment);
}
