//! The kit itself, against the real servers.

mod chaos_proxy;
mod process;
mod servers_for_a_run;
mod shared_servers;
mod stub_upstream;
