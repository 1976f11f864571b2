//! Listeners on their way in and out: from the predecessor or the system, and to a successor.

use std::{io, net::SocketAddr};

use super::{Handed, Predecessor, Role};
use crate::listener::Bound;

/// Opens the gateway's listeners and keeps a descriptor of each for a successor.
pub(crate) struct Sockets {
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) opened: Vec<Handed>,
}

impl Sockets {
    pub(crate) fn new(predecessor: Option<Predecessor>) -> Self {
        Self { predecessor, opened: Vec::new() }
    }

    /// A listener for this role: the predecessor's if it has the same address in its settings.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn open(&mut self, role: Role, configured: SocketAddr) -> io::Result<Bound> {
        let taken = self.predecessor.as_ref().and_then(|predecessor| predecessor.take(role, configured));
        let bound = match taken {
            Some(listener) => Bound::adopt(listener)?,
            None => Bound::bind(configured)?,
        };
        self.opened.push(Handed { role, configured, listener: bound.duplicate()? });
        Ok(bound)
    }
}
