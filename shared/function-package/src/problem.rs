//! Every reason for which a package is refused.

/// What is wrong with a package. Shows as what is wrong and what to do about it, for the package's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    // The archive as a whole.
    /// The package is empty (0 bytes).
    #[error("the package is empty (0 bytes); send the ZIP file itself")]
    NothingSent,
    /// The ZIP file is larger than the limit.
    #[error(
        "the ZIP is {bytes} bytes, and the limit is {limit}; leave out what the function does not need to run, such as tests and documentation"
    )]
    ArchiveTooLarge {
        /// How many bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// This is not a ZIP file; it looks like `looks_like`.
    #[error(
        "this is not a ZIP file; it looks like {looks_like}; pack the function's files with `zip -r package.zip .` or an equivalent"
    )]
    NotAZip {
        /// What it looks like.
        looks_like: &'static str,
    },
    /// The ZIP ends too early: its end is missing.
    #[error("the ZIP ends too early: its end is missing; send it again, whole; it was cut while it was made or sent")]
    Truncated,
    /// Bytes follow the end of the ZIP.
    #[error("{bytes} bytes follow the end of the ZIP; send the ZIP alone, with nothing appended to it")]
    TrailingData {
        /// How many bytes.
        bytes: u64,
    },
    /// Bytes come before the first entry, as in a self-extracting archive.
    #[error(
        "{bytes} bytes come before the first entry, as in a self-extracting archive; send a plain ZIP, with nothing before it"
    )]
    PrefixData {
        /// How many bytes.
        bytes: u64,
    },
    /// The ZIP has more than one end, and tools disagree over which one holds.
    #[error(
        "the ZIP has more than one end, and tools disagree over which one holds; make it anew with a common ZIP tool"
    )]
    MultipleEnds,
    /// The archive's comment is longer than the limit.
    #[error("the archive's comment is {bytes} bytes, and the limit is {limit}; make the ZIP without a comment")]
    CommentTooLong {
        /// How many bytes.
        bytes: u16,
        /// The limit.
        limit: u16,
    },
    /// The ZIP is one part of an archive that was split over several files.
    #[error("the ZIP is one part of an archive that was split over several files; make one ZIP in one file")]
    MultiDisk,
    /// There is no file in the ZIP.
    #[error("there is no file in the ZIP; pack the files of the function")]
    NoFiles,
    /// The ZIP has `entries` files and folders, and the limit is `limit`.
    #[error(
        "the ZIP has {entries} files and folders, and the limit is {limit}; leave out what the function does not need to run, or bundle its sources"
    )]
    TooManyEntries {
        /// How many there are, or are said to be.
        entries: u64,
        /// The limit.
        limit: u32,
    },
    /// The files of the package are more than `limit` bytes unpacked.
    #[error(
        "the files of the package are more than {limit} bytes unpacked; leave out what the function does not need to run"
    )]
    UnpackedTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The whole package is `ratio` times larger unpacked, and the limit is `limit` times.
    #[error(
        "the whole package is {ratio} times larger unpacked, and the limit is {limit} times; generate repetitive files when the function runs instead of packing them"
    )]
    ArchiveBomb {
        /// How many times larger.
        ratio: u64,
        /// The limit.
        limit: u32,
    },
    /// The end of the ZIP says that there are `said` entries, and there are not as many.
    #[error(
        "the end of the ZIP says that there are {said} entries, and there are not as many; make the ZIP anew with a common ZIP tool"
    )]
    WrongEntryCount {
        /// What the ZIP says.
        said: u64,
    },
    /// The ZIP's directory is not where its end says.
    #[error("the ZIP's directory is not where its end says; make the ZIP anew, and send it as a binary file")]
    DirectoryMisplaced,
    /// The ZIP's directory cannot be read.
    #[error("the ZIP's directory cannot be read; make the ZIP anew, and send it as a binary file")]
    DirectoryCorrupt,
    /// The Zip64 records contradict the others.
    #[error("the Zip64 records contradict the others; make the ZIP anew with a common ZIP tool")]
    Zip64Inconsistent,
    // An entry's name.
    /// The entry has no name.
    #[error("the entry has no name; make the ZIP anew with a common ZIP tool")]
    EmptyName,
    /// Its name is not UTF-8.
    #[error("its name is not UTF-8; rename the file, or pack it with a tool that writes UTF-8")]
    NameNotUtf8,
    /// Its name holds a NUL byte, at which tools cut it.
    #[error("its name holds a NUL byte, at which tools cut it; rename the file")]
    NulInName,
    /// Its name holds a control or invisible character.
    #[error("its name holds a control or invisible character; rename the file")]
    ControlCharacterInName,
    /// Its name holds a backslash.
    #[error("its name holds a backslash; pack with a tool that separates folders by `/`, or rename the file")]
    BackslashInName,
    /// Its path begins at the root.
    #[error("its path begins at the root; pack with relative paths, from inside the function's folder")]
    AbsolutePath,
    /// Its path begins with a drive letter.
    #[error("its path begins with a drive letter; pack with relative paths, from inside the function's folder")]
    DriveLetter,
    /// Its path leads out of the package by `..`.
    #[error("its path leads out of the package by `..`; pack with relative paths, from inside the function's folder")]
    Traversal,
    /// Its path has an empty part or `.` in it.
    #[error("its path has an empty part or `.` in it; pack with plain relative paths such as `pkg/mod.py`")]
    CrookedPath,
    /// Its path is longer than the limit.
    #[error("its path is {bytes} bytes long, and the limit is {limit}; use shorter names, or bundle the sources")]
    PathTooLong {
        /// How many bytes.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// One part of its path is longer than a file name may be.
    #[error("one part of its path is {bytes} bytes long, and no file name may be longer than 255; use a shorter name")]
    NameTooLong {
        /// How many bytes.
        bytes: usize,
    },
    /// Its path has `depth` parts, and the limit is `limit`.
    #[error("its path has {depth} parts, and the limit is {limit}; use a flatter folder, or bundle the sources")]
    PathTooDeep {
        /// How many parts.
        depth: usize,
        /// The limit.
        limit: u32,
    },
    /// The name occurs twice, and tools disagree over which one holds.
    #[error("the name occurs twice, and tools disagree over which one holds; pack each file once")]
    DuplicateName,
    /// The path is a file and also the folder of another entry.
    #[error("the path is a file and also the folder of another entry; rename one of the two")]
    FileIsFolder,
    /// A second name in the entry's extra field differs from the first.
    #[error(
        "a second name in the entry's extra field differs from the first; make the ZIP anew with a common ZIP tool"
    )]
    OtherUnicodeName,
    // What an entry is.
    /// It is a symbolic link.
    #[error("it is a symbolic link; pack the file that it leads to (`zip -r` without `-y` does)")]
    Symlink,
    /// It is a link to another entry or a device, as its extra field says.
    #[error("it is a link to another entry or a device, as its extra field says; pack the file's content")]
    HardLink,
    /// It is a device.
    #[error("it is a device; pack only files and folders")]
    Device,
    /// It is a pipe or a socket.
    #[error("it is a pipe or a socket; pack only files and folders")]
    PipeOrSocket,
    /// Its mode says that it is neither file nor folder.
    #[error("its mode says that it is neither file nor folder; pack only files and folders")]
    UnknownKind,
    /// Its name and its mode disagree whether it is a file or a folder.
    #[error(
        "its name and its mode disagree whether it is a file or a folder; make the ZIP anew with a common ZIP tool"
    )]
    KindMismatch,
    /// It is a folder and holds data.
    #[error("it is a folder and holds data; make the ZIP anew with a common ZIP tool")]
    FolderWithData,
    /// It is encrypted.
    #[error("it is encrypted; pack without a password; secrets belong into the environment")]
    Encrypted,
    /// It is compressed by method `method`.
    #[error("it is compressed by method {method} ({}); use Deflate (8) or no compression (0)", method_name(*method))]
    UnsupportedMethod {
        /// The method's number.
        method: u16,
    },
    /// It uses features of ZIP that are not supported.
    #[error(
        "it uses features of ZIP that are not supported (flags {flags:#06x}); make the ZIP anew with a common ZIP tool"
    )]
    UnsupportedFlags {
        /// The flags.
        flags: u16,
    },
    // Sizes and places.
    /// It is Bytes unpacked, and the limit is `limit`.
    #[error("it is {bytes} bytes unpacked, and the limit is {limit}; leave it out, or split it")]
    FileTooLarge {
        /// How many bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// It is `ratio` times larger unpacked, and the limit is `limit` times.
    #[error(
        "it is {ratio} times larger unpacked, and the limit is {limit} times; generate repetitive files when the function runs instead of packing them"
    )]
    Bomb {
        /// How many times larger.
        ratio: u64,
        /// The limit.
        limit: u32,
    },
    /// Its data overlaps that of ``other``.
    #[error("its data overlaps that of `{other}`; make the ZIP anew with a common ZIP tool")]
    Overlap {
        /// The other entry, safe to show.
        other: String,
    },
    /// Bytes follow its data that belong to no entry.
    #[error(
        "{bytes} bytes follow its data that belong to no entry; make the ZIP anew with a common ZIP tool, rather than change one in place"
    )]
    HiddenData {
        /// How many bytes.
        bytes: u64,
    },
    /// Its header is not where the ZIP's directory says.
    #[error("its header is not where the ZIP's directory says; make the ZIP anew, and send it as a binary file")]
    HeaderMisplaced,
    /// Its own header and the ZIP's directory disagree over its `field`.
    #[error(
        "its own header and the ZIP's directory disagree over its {field}; make the ZIP anew with a common ZIP tool"
    )]
    HeaderMismatch {
        /// What they disagree over.
        field: &'static str,
    },
    /// The record after its data and the ZIP's directory disagree.
    #[error("the record after its data and the ZIP's directory disagree; make the ZIP anew with a common ZIP tool")]
    DescriptorMismatch,
    /// Its extra field cannot be read.
    #[error("its extra field cannot be read; make the ZIP anew with a common ZIP tool")]
    ExtraFieldCorrupt,
    /// It is stored uncompressed, and yet its two sizes differ.
    #[error("it is stored uncompressed, and yet its two sizes differ; make the ZIP anew with a common ZIP tool")]
    StoredSizesDiffer,
    // An entry's data.
    /// Its compressed data cannot be read.
    #[error("its compressed data cannot be read; make the ZIP anew, and send it as a binary file")]
    DataCorrupt,
    /// It holds more than the `said` bytes that the ZIP says.
    #[error("it holds more than the {said} bytes that the ZIP says; make the ZIP anew with a common ZIP tool")]
    MoreDataThanSaid {
        /// What the ZIP says.
        said: u64,
    },
    /// It holds `found` bytes and not the `said` that the ZIP says.
    #[error("it holds {found} bytes and not the {said} that the ZIP says; make the ZIP anew, and send it whole")]
    LessDataThanSaid {
        /// What the ZIP says.
        said: u64,
        /// What there is.
        found: u64,
    },
    /// Bytes follow the end of its compressed data.
    #[error("{bytes} bytes follow the end of its compressed data; make the ZIP anew with a common ZIP tool")]
    DataAfterEnd {
        /// How many bytes.
        bytes: u64,
    },
    /// Its checksum (CRC-32) is wrong.
    #[error("its checksum (CRC-32) is wrong; make the ZIP anew, and send it as a binary file")]
    WrongChecksum,
    // Where the function begins.
    /// The handler is no name of a function in a file.
    #[error(
        "this is not a handler; write the file without its ending, a dot, and the function, such as `index.handler` or `pkg/mod.handler`"
    )]
    HandlerMalformed,
    /// The package has no file that the handler names.
    #[error(
        "the package has none of {looked_for}; name a file of the package in the handler, or pack the folder's content and not the folder itself"
    )]
    HandlerFileMissing {
        /// The files that were looked for.
        looked_for: String,
    },
    /// The interpreter cannot parse the handler's file.
    #[error("{error}; correct it, or choose the runtime that it is written for")]
    HandlerSyntax {
        /// What the interpreter says, safe to show.
        error: String,
    },
    /// The interpreter ended over the handler's file.
    #[error("the interpreter could not read it: {error}; make the file simpler or smaller")]
    HandlerUnreadable {
        /// How the interpreter ended, safe to show.
        error: String,
    },
    /// The handler's file does not define the function.
    #[error("it defines no `{name}`; define that function, or name another in the handler")]
    HandlerUndefined {
        /// The function that was looked for.
        name: String,
    },
    /// A `provided` runtime has nothing to run.
    #[error("the package has no file `bootstrap`; put the program that `provided` runs at the top of the package")]
    BootstrapMissing,
    /// A `provided` runtime may not run what there is.
    #[error("it is not executable; `chmod +x bootstrap` before packing, with a tool that keeps modes")]
    BootstrapNotExecutable,
}

impl Problem {
    /// A stable name, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NothingSent => "nothing_sent",
            Self::ArchiveTooLarge { .. } => "archive_too_large",
            Self::NotAZip { .. } => "not_a_zip",
            Self::Truncated => "truncated",
            Self::TrailingData { .. } => "trailing_data",
            Self::PrefixData { .. } => "prefix_data",
            Self::MultipleEnds => "multiple_ends",
            Self::CommentTooLong { .. } => "comment_too_long",
            Self::MultiDisk => "multi_disk",
            Self::NoFiles => "no_files",
            Self::TooManyEntries { .. } => "too_many_entries",
            Self::UnpackedTooLarge { .. } => "unpacked_too_large",
            Self::ArchiveBomb { .. } => "archive_bomb",
            Self::WrongEntryCount { .. } => "wrong_entry_count",
            Self::DirectoryMisplaced => "directory_misplaced",
            Self::DirectoryCorrupt => "directory_corrupt",
            Self::Zip64Inconsistent => "zip64_inconsistent",
            Self::EmptyName => "empty_name",
            Self::NameNotUtf8 => "name_not_utf8",
            Self::NulInName => "nul_in_name",
            Self::ControlCharacterInName => "control_character_in_name",
            Self::BackslashInName => "backslash_in_name",
            Self::AbsolutePath => "absolute_path",
            Self::DriveLetter => "drive_letter",
            Self::Traversal => "path_traversal",
            Self::CrookedPath => "crooked_path",
            Self::PathTooLong { .. } => "path_too_long",
            Self::NameTooLong { .. } => "name_too_long",
            Self::PathTooDeep { .. } => "path_too_deep",
            Self::DuplicateName => "duplicate_name",
            Self::FileIsFolder => "file_is_folder",
            Self::OtherUnicodeName => "other_unicode_name",
            Self::Symlink => "symlink",
            Self::HardLink => "hard_link",
            Self::Device => "device",
            Self::PipeOrSocket => "pipe_or_socket",
            Self::UnknownKind => "unknown_kind",
            Self::KindMismatch => "kind_mismatch",
            Self::FolderWithData => "folder_with_data",
            Self::Encrypted => "encrypted",
            Self::UnsupportedMethod { .. } => "unsupported_method",
            Self::UnsupportedFlags { .. } => "unsupported_flags",
            Self::FileTooLarge { .. } => "file_too_large",
            Self::Bomb { .. } => "bomb",
            Self::Overlap { .. } => "overlap",
            Self::HiddenData { .. } => "hidden_data",
            Self::HeaderMisplaced => "header_misplaced",
            Self::HeaderMismatch { .. } => "header_mismatch",
            Self::DescriptorMismatch => "descriptor_mismatch",
            Self::ExtraFieldCorrupt => "extra_field_corrupt",
            Self::StoredSizesDiffer => "stored_sizes_differ",
            Self::DataCorrupt => "data_corrupt",
            Self::MoreDataThanSaid { .. } => "more_data_than_said",
            Self::LessDataThanSaid { .. } => "less_data_than_said",
            Self::DataAfterEnd { .. } => "data_after_end",
            Self::WrongChecksum => "wrong_checksum",
            Self::HandlerMalformed => "handler_malformed",
            Self::HandlerFileMissing { .. } => "handler_file_missing",
            Self::HandlerSyntax { .. } => "handler_syntax",
            Self::HandlerUnreadable { .. } => "handler_unreadable",
            Self::HandlerUndefined { .. } => "handler_undefined",
            Self::BootstrapMissing => "bootstrap_missing",
            Self::BootstrapNotExecutable => "bootstrap_not_executable",
        }
    }
}

/// Methods that tools offer (APPNOTE 4.4.5).
fn method_name(method: u16) -> &'static str {
    match method {
        0 => "none",
        1 => "Shrink",
        2..=5 => "Reduce",
        6 => "Implode",
        8 => "Deflate",
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "Zstandard",
        95 => "XZ",
        98 => "PPMd",
        _ => "unknown",
    }
}
