//! What is in force, and the rollbacks that the document does not have yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use chrono::{SubsecRound as _, Utc};
use layered_config::Problems;
use tokio::sync::{Notify, futures::Notified};

use super::{
    Authorship,
    chain::{Head, LogEntry},
    change::Kind,
    store::Pending,
};
use crate::{
    limit::Policies,
    metrics::Metrics,
    recall::Recall,
    rollout::{DataStage, RolloutDocument, Running, Snapshot, Weight},
    route_table::{RouteId, RouteTable, SliceId},
};

/// What a document may not contradict.
struct InForce<'a> {
    snapshot: &'a Snapshot,
    pending: BTreeSet<RouteId>,
}

impl Running for InForce<'_> {
    fn epoch(&self, route: RouteId) -> Option<u64> {
        (!self.pending.contains(&route)).then(|| self.snapshot.get(route).epoch)
    }

    /// Before the first revision nothing is known that a document could contradict.
    fn stage(&self, slice: SliceId) -> Option<DataStage> {
        (self.snapshot.revision() > 0).then(|| self.snapshot.stage(slice))
    }
}

/// The live state. Reading it takes no lock; each change of it is short and touches no disk.
pub(super) struct Live {
    table: Arc<RouteTable>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
    recall: Arc<Recall>,
    snapshot: ArcSwap<Snapshot>,
    /// Woken when the snapshot is replaced.
    revised: Notify,
    /// Also the lock under which the snapshot is replaced.
    pending: Mutex<Vec<Pending>>,
    /// For each route, whether the lease of its ramp is held here.
    held: Box<[AtomicBool]>,
}

impl Live {
    /// Everything on legacy, but for what was pending when the gateway stopped.
    pub(super) fn new(table: Arc<RouteTable>, policies: Arc<Policies>, metrics: Arc<Metrics>) -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot::initial(&table, &policies));
        let recall = Arc::new(Recall::new(&table));
        let held = table.iter().map(|_| AtomicBool::new(false)).collect();
        let (revised, pending) = (Notify::new(), Mutex::default());
        Self { table, policies, metrics, recall, snapshot, revised, pending, held }
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Ends when the snapshot is another than at the time of this call.
    pub(super) fn next_revision(&self) -> Notified<'_> {
        self.revised.notified()
    }

    pub(super) fn table(&self) -> &RouteTable {
        &self.table
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn recall(&self) -> &Arc<Recall> {
        &self.recall
    }

    /// The rollbacks that the document does not have yet, the oldest first.
    pub(super) fn pending(&self) -> Vec<Pending> {
        self.locked().clone()
    }

    /// Checks a document. Its epochs may not be lower than those that are running, but for routes
    /// whose rollback is newer than any document.
    pub(super) fn parse(&self, name: &str, text: &str) -> Result<RolloutDocument, Problems> {
        let pending = self.pending_routes(&self.locked());
        let snapshot = self.snapshot.load();
        RolloutDocument::parse_beside(
            name,
            text,
            (&self.table, &self.policies),
            &InForce { snapshot: &snapshot, pending },
        )
    }

    /// Checks a document that has been in force, here or in another gateway.
    pub(super) fn parse_known(&self, name: &str, text: &str) -> Result<RolloutDocument, Problems> {
        RolloutDocument::parse(name, text, (&self.table, &self.policies), |_| None)
    }

    /// Takes routes back to legacy, at once. Returns each with its weight before and its new epoch.
    pub(super) fn take_back(&self, routes: &[RouteId], by: &Authorship) -> Vec<(RouteId, Weight, u64)> {
        let mut pending = self.locked();
        let before = self.snapshot.load_full();
        let after = before.rolled_back(routes);
        let taken = routes.iter().map(|id| (*id, before.get(*id).weight, after.get(*id).epoch)).collect();
        let epochs = routes.iter().map(|id| (self.table.get(*id).name.clone(), after.get(*id).epoch));
        pending.push(Pending { routes: epochs.collect(), by: by.clone(), at: Utc::now().trunc_subsecs(6) });
        self.put_in_force(after);
        taken
    }

    /// Takes up again the rollbacks that an earlier process could not bring into the document.
    pub(super) fn resume(&self, pending: Vec<Pending>) {
        let mut known = self.locked();
        for mut rollback in pending {
            let routes: Vec<RouteId> = rollback.routes.keys().filter_map(|name| self.table.by_name(name)).collect();
            let snapshot = self.snapshot.load_full();
            let after = (*snapshot)
                .clone()
                .with_epochs(|id| rollback.routes.get(&self.table.get(id).name).map(|epoch| epoch.saturating_sub(1)));
            let after = after.rolled_back(&routes);
            rollback.routes =
                routes.iter().map(|id| (self.table.get(*id).name.clone(), after.get(*id).epoch)).collect();
            known.push(rollback);
            self.put_in_force(after);
        }
    }

    /// Puts a document in force. Routes with a pending rollback stay as they are: it is newer than
    /// any document that does not have it.
    pub(super) fn adopt(&self, document: &RolloutDocument, head: &Head) -> Arc<Snapshot> {
        let pending = self.locked();
        let held = |route: RouteId| self.held[route.index()].load(Ordering::Acquire);
        let next = self.snapshot.load().with_document(document, &self.pending_routes(&pending), held);
        let next = next.with_epochs(|id| head.epochs.get(&self.table.get(id).name).copied());
        self.put_in_force(next.at_revision(head.revision))
    }

    /// Whether the lease of a route's ramp is held here. Returns the weights before and after where
    /// that makes a difference.
    pub(super) fn hold(&self, route: RouteId, held: bool) -> Option<(Weight, Weight)> {
        let _changing = self.locked();
        if self.held[route.index()].swap(held, Ordering::AcqRel) == held {
            return None;
        }
        let before = self.snapshot.load_full();
        let after = before.with_lease(route, held)?;
        let after = self.put_in_force(after);
        Some((before.get(route).weight, after.get(route).weight))
    }

    /// The store has this entry: if it is a rollback of ours, it is no longer pending.
    pub(super) fn settle(&self, entry: &LogEntry) {
        if entry.kind == Kind::Rollback {
            let mut pending = self.locked();
            pending.retain(|rollback| rollback.at != entry.at || rollback.by != entry.authorship());
        }
    }

    /// Each route's epoch once a document follows this one: never lower than before.
    pub(super) fn epochs_after(&self, head: &Head, document: Option<&RolloutDocument>) -> BTreeMap<String, u64> {
        let mut epochs = head.epochs.clone();
        for (id, route) in self.table.iter().filter(|(_, route)| route.sides.is_split()) {
            let epoch = epochs.entry(route.name.clone()).or_insert(1);
            let said = document.and_then(|document| document.get(id)?.epoch);
            *epoch = said.unwrap_or(1).max(*epoch);
        }
        epochs
    }

    fn put_in_force(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.metrics.state_changed(&snapshot);
        let snapshot = Arc::new(snapshot);
        let before = self.snapshot.swap(snapshot.clone());
        self.revised.notify_waiters();
        // In force first: whoever begins to wait from now on knows that its decision is void.
        for (id, route) in self.table.iter().filter(|(id, _)| snapshot.get(*id).epoch > before.get(*id).epoch) {
            let requests = self.recall.recall(id);
            if requests > 0 {
                tracing::info!(route = %route.name, requests, "recalled what waited on the candidate");
            }
        }
        snapshot
    }

    fn pending_routes(&self, pending: &[Pending]) -> BTreeSet<RouteId> {
        pending.iter().flat_map(|rollback| rollback.routes.keys()).filter_map(|name| self.table.by_name(name)).collect()
    }

    /// A change that panicked has left the state as a whole: it is replaced, never changed in place.
    fn locked(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
