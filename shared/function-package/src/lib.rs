//! ZIP packages of functions.
//!
//! - [`inspect`] reads an archive's directory and headers, and nothing else: what is wrong with a package
//!   is known before anything of it is stored.
//! - [`unpack`] writes an archive's files into a new folder, or leaves nothing behind.
//! - [`pack`] makes an archive of a folder: the same bytes for the same files, whenever and wherever.
//! - [`find_entry_point`] finds the file that a handler such as `index.handler` names, and [`check_entry_point`] has
//!   the runtime's own interpreter parse it in the sandbox.
//!
//! All but the last of them block: call them where blocking is allowed.
//!
//! # What is refused
//!
//! Archives come from strangers. Tools disagree over what a crooked one holds, and such disagreements are how
//! a package passes a check as one thing and runs as another. So there is one reader, which checks and
//! unpacks by the same bytes, and it takes only archives over which no two tools can disagree:
//! headers and data cover the file from its first byte to its last, without gap or overlap; what is said twice is
//! said alike; every name is plain. [`Problem`] lists every reason.
//!
//! | limit ([`Limits`]) | default |
//! |---|---|
//! | `archive`: the ZIP itself | 50 MiB |
//! | `unpacked`: all files together | 250 MiB |
//! | `file`: any one file | 250 MiB |
//! | `entries`: files and folders, also those that only a path names | 50,000 |
//! | `ratio`: of a file above 1 MiB, and of the whole | 200 |
//! | `path_bytes`, `path_depth` | 512, 32 |
//! | comment of the archive | 1 KiB, fixed |
//!
//! What is *not* refused: names that differ only in case or in Unicode normalization (functions run on Linux,
//! where they are different files); archives inside the archive (they stay files, nobody opens them); names in
//! UTF-8 without the flag that says so (several common tools forget it).
//!
//! What is not kept: owners, times, and of a file's mode all but whether its owner may run it. Set-user-id bits
//! are so dropped, not refused.

mod content;
mod deflate;
mod digest;
mod end_of_archive;
mod entry_path;
mod error;
mod extra_field;
mod folder_walk;
mod handler;
mod handler_check;
mod inspect;
mod layout;
mod limits;
mod new_folder;
mod pack;
mod problem;
mod records;
mod tree;
mod unpack;

pub use digest::{Digest, NotADigest};
pub use error::{PackageError, Refusal};
pub use handler::{EntryPoint, RuntimeFamily, find_entry_point};
pub use handler_check::{CheckError, check_entry_point};
pub use inspect::{Entry, Listing, inspect};
pub use limits::Limits;
pub use pack::{Artifact, pack};
pub use problem::Problem;
pub use unpack::unpack;
