//! The side that serves, and those that get the copies.

use std::{net::SocketAddr, path::Path};

use tempfile::TempDir;

use crate::{
    hostile,
    nginx::origin,
    process::{Cores, Process, free_address},
};

/// What the contenders stand before.
pub struct Upstreams {
    /// It serves every request, with 1 KiB of JSON.
    pub legacy: SocketAddr,
    /// It answers with the same bytes.
    pub same: SocketAddr,
    /// It answers with the same members in another order.
    pub reordered: SocketAddr,
    /// Nobody listens there.
    pub dead: SocketAddr,
    /// Each does its worst: [`hostile::Kind::ALL`].
    pub hostile: Vec<(hostile::Kind, SocketAddr)>,
    // In this order: the processes end before their folder goes.
    _processes: Vec<Process>,
    folder: TempDir,
}

impl Upstreams {
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [legacy, same, reordered] = [free_address()?, free_address()?, free_address()?];
        let others = [(same, answer(false)), (reordered, answer(true))];
        let mut processes = vec![
            origin(folder.path(), "origin", Cores::Rest, &[(legacy, answer(false))])?,
            origin(folder.path(), "others", Cores::RestWhenIdle, &others)?,
        ];
        let mut hostile = Vec::new();
        for kind in hostile::Kind::ALL {
            let address = free_address()?;
            processes.push(hostile::start(kind, address, folder.path())?);
            hostile.push((kind, address));
        }
        let dead = free_address()?;
        Ok(Self { legacy, same, reordered, dead, hostile, _processes: processes, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// 1 KiB of JSON with 20 members, in order or the other way round.
pub fn answer(reversed: bool) -> String {
    let mut members: Vec<String> =
        (0..20).map(|number| format!("\"member-{number:02}\":\"{}\"", "x".repeat(36))).collect();
    if reversed {
        members.reverse();
    }
    format!("{{{}}}", members.join(","))
}
