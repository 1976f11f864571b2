//! Fences: a short hold of the writes to a slice while its rows go to another owner.
//!
//! A write waits here, in the gateway, after its limits were counted and before its side is chosen; when the
//! fence is lifted it is decided by the state that is then in force. Reads go on. Writes that were let through
//! before are waited for: when none is left, this gateway is *drained*, and since nothing passes a fence it
//! stays so until it is lifted.
//!
//! A fence never stands longer than it may. It has a bound, counted from when it was placed, and a lease that
//! its holder renews; whichever is over first lifts it, and so does the end of the process. Its holder is
//! known by a token, so that two operators do not lift each other's.
//!
//! # Several gateways
//! With a rollout shared through PostgreSQL a fence is a row there, and every gateway of the slice stands
//! behind it ([`Fleet`]):
//!
//! - each gateway has a row with a heartbeat, and for each fence an acknowledgement: that it holds writes, how
//!   many it found in flight, and when the last of them had ended;
//! - a fence is *drained* when every gateway whose heartbeat is younger than its lease, by the database's
//!   clock, has said so; one that starts meanwhile reads the fence before it serves, and is waited for;
//! - a gateway that has gone is waited for until its lease is over and no longer. One that is cut off but
//!   alive goes on with what it knows. It cannot write rows of the other side: whoever moves them has the
//!   source's tables locked meanwhile, and leaves them refusing writes afterwards. That lock, not a gateway's
//!   word, is what makes two owners impossible; fences make the wait short and free of errors.
//!
//! With `store = "file"` there is one gateway, and the fence is in its memory.

mod fleet;
mod fleet_rows;
mod gate;
mod metrics;
mod reports;
mod watch;

use std::{sync::Arc, time::Duration};

use prometheus::Registry;

pub(crate) use fleet::{Fleet, FleetError, Follower, Instance};
pub(crate) use gate::{Fence, FenceError, Gate, Held, Hold, Limits, Write};
pub(crate) use reports::{About, Report, Reports};
pub(crate) use watch::watch;

use crate::{
    config::Config,
    route_table::{RouteTable, SliceId},
};
use metrics::Families;

/// The gates of every slice.
pub(crate) struct Slices {
    gates: Box<[Arc<Gate>]>,
    /// Woken when a fence is placed, renewed, lifted or drained.
    changed: Arc<tokio::sync::Notify>,
}

impl Slices {
    /// The gates of a configuration that has been checked, all open.
    pub(crate) fn new(config: &Config, table: &RouteTable, registry: &Registry) -> prometheus::Result<Self> {
        let families = Families::register(registry)?;
        let changed = Arc::new(tokio::sync::Notify::new());
        let gate = |name: &str, limits| Arc::new(Gate::new(limits, families.of(name), changed.clone()));
        let gates = table.slices().filter_map(|(_, slice)| {
            let config = config.slices.get(&slice.name)?;
            let limits = Limits {
                hold: config.max_hold.get(),
                waiting: config.max_waiting,
                waiting_bytes: config.max_waiting_bytes.bytes(),
            };
            Some(gate(&slice.name, limits))
        });
        Ok(Self { gates: gates.collect(), changed })
    }

    /// The gate of a slice.
    pub(crate) fn gate(&self, slice: SliceId) -> &Arc<Gate> {
        &self.gates[slice.index()]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SliceId, &Arc<Gate>)> {
        self.gates.iter().enumerate().map(|(index, gate)| (SliceId::new(index), gate))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.gates.len()
    }

    /// Ends when something about a fence is other than it is at the time of this call.
    pub(crate) fn next_change(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Waits until something about a fence is other than before, or for this long.
    pub(crate) async fn changed(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.next_change()).await;
    }
}
