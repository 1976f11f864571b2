//! What one request is charged, and how each of its policies stands afterwards.

use std::time::Duration;

use super::{budget::Flow, policy::PolicyId, quota::Quota, subject::Subject};

/// The most policies that one route may list.
pub const MAX_POLICIES: usize = 8;

/// One request to one policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charge<'a> {
    pub(super) policy: PolicyId,
    pub(super) subject: Subject<'a>,
    pub(super) quota: Quota,
    /// The quota, or this gateway's part of it.
    pub(super) flow: Flow,
    /// What the subject has used, this request included once it is admitted. The store's answer.
    pub(super) used: f64,
}

/// A request to all policies of its route, in the order of their ids. It is admitted by all of them,
/// and then each is charged, or by none: a request that one policy refuses uses up nothing of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charges<'a> {
    all: [Option<Charge<'a>>; MAX_POLICIES],
}

impl<'a> Charges<'a> {
    /// At most [`MAX_POLICIES`].
    pub(super) fn new(charges: impl IntoIterator<Item = Charge<'a>>) -> Self {
        let mut charges = charges.into_iter();
        Self { all: std::array::from_fn(|_| charges.next()) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Option<Charge<'a>>] {
        &mut self.all
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Charge<'a>> + Clone {
        self.all.iter().map_while(Option::as_ref)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Charge<'a>> {
        self.all.iter_mut().map_while(Option::as_mut)
    }

    /// The policy that refuses the request for longest, if any does.
    pub(super) fn refused_by(&self) -> Option<(&Charge<'a>, Duration)> {
        let refusing = self.iter().filter(|charge| !charge.flow.fits(charge.used));
        refusing.map(|charge| (charge, charge.flow.wait(charge.used))).max_by_key(|(_, wait)| *wait)
    }
}
