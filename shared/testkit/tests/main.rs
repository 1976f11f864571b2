//! The kit itself, against the real servers.

mod shared_servers;
