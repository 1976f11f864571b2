//! The monolith as a process, against real servers.

mod contract;
mod docker;
mod events;
mod lifecycle;
mod rabbitmq;
mod schedule;
mod system;
