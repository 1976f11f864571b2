//! The monolith as a process, against real servers.

mod contract;
mod system;
