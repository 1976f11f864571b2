//! The way back to legacy: in force at once, kept as soon as it can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    ATTEMPTS, About, Authorship, ChangeError, Control, Expect, Head, Kind, StoreError, Writer, chain,
    change::check_owner, store::Pending, writing::Draft,
};
use crate::{
    decision::Side,
    rollout::{DocumentText, Weight},
    route_table::RouteId,
};

/// Routes that were taken back to legacy.
#[derive(Debug)]
pub struct Rollback {
    /// Each route with its weight before and its new epoch.
    pub routes: Vec<(RouteId, Weight, u64)>,
    /// The last revision, which has the rollback when it is shared.
    pub revision: u64,
    /// Whether it would survive a restart of this gateway; if not, why not.
    pub kept: Result<(), StoreError>,
    /// Why the store does not have it yet, and with it the other gateways.
    pub unshared: Option<String>,
    /// Where the file was put that could not be read as a document.
    pub set_aside: Option<PathBuf>,
    /// Routes that stay on the candidate, because the rows of their slice are there.
    pub staying: Vec<RouteId>,
}

impl Control {
    /// Takes routes back to legacy: in force when this has been called for an instant, kept when it
    /// returns. Routes with one side are left alone, and so are those whose rows are the candidate's: legacy
    /// would write rows of its own beside them, and read old ones.
    pub fn roll_back(&self, routes: &[RouteId], by: &Authorship) -> Rollback {
        let staying = self.staying(routes);
        let taken = self.take_back(routes, by);
        Rollback { staying, ..self.keep_taken(taken) }
    }

    /// Whether a route could be rolled back: legacy has its rows.
    ///
    /// # Errors
    /// [`ChangeError::CutOver`].
    pub(crate) fn may_leave_the_candidate(&self, route: RouteId) -> Result<(), ChangeError> {
        check_owner(route, self.table(), &self.snapshot())
    }

    /// Those of these routes whose rows are the candidate's.
    fn staying(&self, routes: &[RouteId]) -> Vec<RouteId> {
        let snapshot = self.snapshot();
        let is_split = |route: &RouteId| self.table().get(*route).sides.is_split();
        routes.iter().copied().filter(|route| snapshot.get(*route).moved && is_split(route)).collect()
    }

    /// The first half of [`Control::roll_back`]: in force when this returns, which it does at once. The
    /// watcher keeps what nobody else has kept meanwhile.
    pub(crate) fn take_back(&self, routes: &[RouteId], by: &Authorship) -> Vec<(RouteId, Weight, u64)> {
        let snapshot = self.snapshot();
        let can_leave = |route: &RouteId| self.table().get(*route).sides.is_split() && !snapshot.get(*route).moved;
        let leaving: Vec<RouteId> = routes.iter().copied().filter(can_leave).collect();
        for route in self.staying(routes) {
            let route = self.table().get(route);
            tracing::warn!(route = %route.name, "not rolled back: the rows of its slice are the candidate's");
        }
        if leaving.is_empty() {
            return Vec::new();
        }
        let taken = self.live.take_back(&leaving, by);
        for (id, from, epoch) in &taken {
            self.live.metrics().rolled_back(*id);
            tracing::warn!(
                route = %self.table().get(*id).name, from_percent = from.percent(), epoch,
                actor = %by.actor, reason = %by.reason, "rolled back to legacy"
            );
        }
        taken
    }

    /// The second half: keeps every rollback that is in force.
    pub(crate) fn keep_taken(&self, taken: Vec<(RouteId, Weight, u64)>) -> Rollback {
        let mut writer = self.writer();
        // On this disk before the store is asked, which may be away.
        self.keep_here(&mut writer);
        let on_disk = !writer.store.follows_file() && !self.trouble.is_noted(About::Record);
        let cleared = self.clear_the_file(&mut writer);
        let (set_aside, kept) = match cleared {
            Ok(aside) => (aside, self.keep_pending(&mut writer)),
            Err(error) => (None, Err(error)),
        };
        let unshared = kept.as_ref().err().map(|error| chain(error));
        let kept = match kept {
            Err(error) if !on_disk => self.keep_in_the_file(&mut writer, error),
            _ => Ok(()),
        };
        self.note_pending(kept.as_ref().err().map(|error| chain(error)));
        let (revision, staying) = (writer.head.revision, Vec::new());
        Rollback { routes: taken, revision, kept, unshared, set_aside, staying }
    }

    /// As [`Control::roll_back`], unless another revision is in force than the one that was expected.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`]; then nothing was rolled back.
    pub fn roll_back_expecting(
        &self,
        routes: &[RouteId],
        by: &Authorship,
        expect: Expect,
    ) -> Result<Rollback, ChangeError> {
        // What is in force here decides: a rollback asks no store whether it may be.
        let current = self.snapshot().revision();
        match expect {
            Expect::Revision(expected) if expected != current => {
                Err(ChangeError::Conflict { expected, current, since: Vec::new() })
            }
            _ => Ok(self.roll_back(routes, by)),
        }
    }

    /// Takes every route back to legacy that has a legacy side and a candidate.
    pub fn roll_back_all(&self, by: &Authorship) -> Rollback {
        let all: Vec<RouteId> = self.split_routes().collect();
        self.roll_back(&all, by)
    }

    /// Appends every pending rollback to the store, each as the act it was.
    pub(super) fn keep_pending(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let mut attempts = 0;
        while let Some(pending) = self.live.pending().into_iter().next() {
            match self.keep(writer, &pending) {
                // Whoever came first may have been this gateway, over a connection that broke.
                Err(StoreError::Conflict) if attempts < ATTEMPTS => self.catch_up(writer)?,
                outcome => outcome?,
            }
            attempts += 1;
        }
        self.note_pending(None);
        Ok(())
    }

    fn keep(&self, writer: &mut Writer, pending: &Pending) -> Result<(), StoreError> {
        let (text, epochs) = rolled_back(&writer.head, pending, &self.moved_in(&writer.head));
        // The last revision may be one that this gateway refuses, but that its fellows have in force:
        // a rollback goes on top of it all the same.
        let document = self.live.parse_known(&self.document_name(), &text).ok();
        let draft = Draft { text, document, epochs, kind: Kind::Rollback, by: &pending.by, at: pending.at };
        self.append(writer, draft).map(drop)
    }

    /// Tries again what could not be kept.
    pub(super) fn keep_late(&self, writer: &mut Writer) {
        let kept = self.clear_the_file(writer).and_then(|_| self.keep_pending(writer));
        match kept {
            Ok(()) => tracing::info!("the rollback is kept now"),
            Err(error) => tracing::debug!(error = %chain(&error), "the rollback is still not kept"),
        }
    }

    /// The change log fails, but the document may still be written. It is recorded later.
    fn keep_in_the_file(&self, writer: &mut Writer, error: StoreError) -> Result<(), StoreError> {
        let head = self.live.pending().iter().fold(writer.head.clone(), |head, pending| Head {
            document: rolled_back(&head, pending, &self.moved_in(&head)).0,
            ..head
        });
        if !matches!(error, StoreError::Log { .. } | StoreError::BrokenLog { .. } | StoreError::Diverged(_)) {
            return Err(error);
        }
        if writer.store.keep_here(&head.document, &head, &[]).is_err() {
            return Err(error);
        }
        self.not_recorded(&error);
        writer.unrecorded = Some(head.document);
        Ok(())
    }

    /// The routes that this revision leaves no other place than the candidate, where their rows are. A rollback
    /// that was made before their cutover, in a gateway that was cut off, is too late for them.
    fn moved_in(&self, head: &Head) -> BTreeSet<String> {
        let Ok(document) = self.live.parse_known(&self.document_name(), &head.document) else { return BTreeSet::new() };
        let moved = |slice| document.stage(slice).owner() == Side::Candidate;
        let slices = self.table().slices().filter(|(slice, _)| moved(*slice));
        slices.flat_map(|(slice, _)| self.table().routes_of(slice)).map(|(_, route)| route.name.clone()).collect()
    }

    fn note_pending(&self, unkept: Option<String>) {
        self.metrics.pending(self.live.pending().len());
        if let Some(why) = unkept {
            self.trouble.note(About::Rollback, &format!("a rollback is in force but not kept: {why}"));
        } else {
            self.trouble.clear(About::Rollback);
        }
    }
}

/// The last document with these routes on legacy, and their epochs, which are higher than any before.
fn rolled_back(head: &Head, pending: &Pending, moved: &BTreeSet<String>) -> (String, BTreeMap<String, u64>) {
    let mut document = DocumentText::parse(&head.document).unwrap_or_default();
    let after_last = |route| head.epochs.get(route).map_or(1, |last| last + 1);
    let epochs: BTreeMap<String, u64> =
        pending.routes.iter().map(|(route, epoch)| (route.clone(), after_last(route).max(*epoch))).collect();
    for (route, epoch) in &epochs {
        document.set(route, if moved.contains(route) { Weight::ALL } else { Weight::NONE }, *epoch);
        document.void_candidate_pins(route);
        document.end_ramp(route, &format!("rolled back by {}: {}", pending.by.actor, pending.by.reason));
    }
    (document.to_string(), epochs)
}
