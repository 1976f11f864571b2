//! What can be asked of the rollout, by whom, and what comes of it.

use std::{fmt, sync::Arc};

use comparison::Selector;
use layered_config::Problems;
use serde::{Deserialize, Serialize};

use super::{chain::LogEntry, difference::Difference, store::StoreError};
use crate::{
    decision::Side,
    limit::Quota,
    rollout::{DataStage, DocumentText, RampRecord, Snapshot, Weight},
    route_table::{RouteId, RouteTable, SliceId},
};

/// One act that changes the document. A rollback is none of them, because it may not wait: see
/// [`super::Control::roll_back`].
#[derive(Debug, Clone)]
pub enum Change {
    /// Another share of a route's keys on the candidate.
    Weight {
        /// The route, with two sides.
        route: RouteId,
        /// The share.
        to: Weight,
    },
    /// Another share of a route shadowed.
    SetShadow {
        /// The route, with two sides and settings for shadowing.
        route: RouteId,
        /// The share; none to end it.
        to: Weight,
    },
    /// A key on a side whatever the weight, or no longer.
    Pin {
        /// The route, with two sides.
        route: RouteId,
        /// The key.
        key: String,
        /// The side; `None` takes the pin away.
        side: Option<Side>,
    },
    /// Where a route's ramp stands, and with it the route's weight.
    Ramp {
        /// The route, with two sides.
        route: RouteId,
        /// The ramp.
        record: RampRecord,
    },
    /// How much a policy allows.
    Limit {
        /// The policy's name.
        policy: String,
        /// The one key this is about; `None` for all that have no limit of their own.
        key: Option<String>,
        /// The limit; `None` for the configured one, or for no limit of the key's own.
        quota: Option<Quota>,
    },
    /// A place where the answers of a route's two sides may differ.
    IgnoreInShadow {
        /// The route, with two sides and settings for shadowing.
        route: RouteId,
        /// The place.
        place: Selector,
    },
    /// How far a slice has come. Whoever says so has moved its rows, and writes to it are held.
    Stage {
        /// The slice.
        slice: SliceId,
        /// The stage. Where it makes the candidate the owner, all split routes of the slice are at 100 %; where
        /// it makes legacy the owner again, they are at 0 %, in an epoch of their own.
        to: DataStage,
    },
    /// Another document in place of the whole.
    Document(String),
}

/// The sorts of act that the log tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A weight was set.
    Weight,
    /// A key was pinned to a side, or let go.
    Pin,
    /// A limit was set.
    Limit,
    /// The share of a route that is shadowed was set.
    Shadow,
    /// A ramp began, moved or ended.
    Ramp,
    /// Differences of a route's answers were ignored.
    Ignore,
    /// The rows of a slice have come further, or gone back.
    Slice,
    /// Routes were taken back to legacy.
    Rollback,
    /// The whole document was replaced.
    Apply,
    /// A change was undone.
    Undo,
    /// A person edited the document's file.
    Edit,
    /// The document was there when the log began.
    Import,
}

impl Kind {
    /// All of them, in the order they are declared.
    pub const ALL: [Self; 12] = [
        Self::Weight,
        Self::Pin,
        Self::Limit,
        Self::Shadow,
        Self::Ramp,
        Self::Ignore,
        Self::Slice,
        Self::Rollback,
        Self::Apply,
        Self::Undo,
        Self::Edit,
        Self::Import,
    ];

    /// The name in log, API and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Pin => "pin",
            Self::Limit => "limit",
            Self::Shadow => "shadow",
            Self::Ramp => "ramp",
            Self::Ignore => "ignore",
            Self::Slice => "slice",
            Self::Rollback => "rollback",
            Self::Apply => "apply",
            Self::Undo => "undo",
            Self::Edit => "edit",
            Self::Import => "import",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Change {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Weight { .. } => Kind::Weight,
            Self::Pin { .. } => Kind::Pin,
            Self::SetShadow { .. } => Kind::Shadow,
            Self::IgnoreInShadow { .. } => Kind::Ignore,
            Self::Limit { .. } => Kind::Limit,
            Self::Ramp { .. } => Kind::Ramp,
            Self::Stage { .. } => Kind::Slice,
            Self::Document(_) => Kind::Apply,
        }
    }

    /// The text with this change in it; the very same text where everything is so already. `now`
    /// gives the running epochs.
    pub(super) fn edited(&self, text: &str, table: &RouteTable, now: &Snapshot) -> String {
        let mut document = DocumentText::parse(text).unwrap_or_default();
        match self {
            Self::Document(text) => return text.clone(),
            Self::Weight { route, to } => document.set(&table.get(*route).name, *to, now.get(*route).epoch),
            Self::SetShadow { route, to } => document.set_shadow(&table.get(*route).name, *to),
            Self::Ramp { route, record } => {
                let name = &table.get(*route).name;
                document.set(name, Weight::from_points(record.state.weight), now.get(*route).epoch);
                document.set_ramp(name, record);
            }
            Self::IgnoreInShadow { route, place } => {
                document.ignore_in_shadow(&table.get(*route).name, place.as_str());
            }
            Self::Stage { slice, to } => set_stage(&mut document, (*slice, *to), table, now),
            Self::Pin { route, key, side: Some(side) } => document.set_pin(&table.get(*route).name, key, *side),
            Self::Pin { route, key, side: None } => {
                document.remove_pin(&table.get(*route).name, key);
            }
            Self::Limit { policy, key, quota } => match (key, quota) {
                (None, Some(quota)) => document.set_limit(policy, *quota),
                (None, None) => {
                    document.remove_limit(policy);
                }
                (Some(key), Some(quota)) => document.set_override(policy, key, *quota),
                (Some(key), None) => {
                    document.remove_override(policy, key);
                }
            },
        }
        document.to_string()
    }

    /// Why this route's settings, or whose its rows are, do not allow it.
    pub(super) fn check(&self, table: &RouteTable, now: &Snapshot) -> Result<(), ChangeError> {
        match self {
            Self::Weight { route, to } if *to != Weight::ALL => check_owner(*route, table, now)?,
            Self::Pin { route, side: Some(Side::Legacy), .. } | Self::Ramp { route, .. } => {
                check_owner(*route, table, now)?;
            }
            _ => {}
        }
        let route = match self {
            Self::Weight { route, .. }
            | Self::Pin { route, .. }
            | Self::SetShadow { route, .. }
            | Self::IgnoreInShadow { route, .. }
            | Self::Ramp { route, .. } => table.get(*route),
            Self::Limit { .. } | Self::Stage { .. } | Self::Document(_) => return Ok(()),
        };
        if !route.sides.is_split() {
            return Err(ChangeError::OneSided(route.name.clone()));
        }
        let shadows = match self {
            Self::SetShadow { to, .. } => *to != Weight::NONE,
            Self::IgnoreInShadow { .. } => true,
            _ => false,
        };
        if shadows && !route.shadowed { Err(ChangeError::NotShadowed(route.name.clone())) } else { Ok(()) }
    }
}

/// Whether a share of the route may be anywhere but on the candidate.
pub(super) fn check_owner(route: RouteId, table: &RouteTable, now: &Snapshot) -> Result<(), ChangeError> {
    let of = table.get(route);
    match &of.slice {
        Some(slice) if now.get(route).moved => {
            let slice = table.slice(slice.id).name.clone();
            Err(ChangeError::CutOver { route: of.name.clone(), slice })
        }
        _ => Ok(()),
    }
}

fn set_stage(document: &mut DocumentText, (slice, to): (SliceId, DataStage), table: &RouteTable, now: &Snapshot) {
    let name = &table.slice(slice).name;
    document.set_stage(name, to);
    if now.stage(slice).owner() == to.owner() {
        return;
    }
    for (id, route) in table.routes_of(slice).filter(|(_, route)| route.sides.is_split()) {
        let epoch = now.get(id).epoch;
        document.end_ramp(&route.name, &format!("slice {name} is {to}"));
        if to.owner() == Side::Candidate {
            document.set(&route.name, Weight::ALL, epoch);
        } else {
            document.set(&route.name, Weight::NONE, epoch + 1);
            document.void_candidate_pins(&route.name);
        }
    }
}

/// Who changes something, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorship {
    /// A person or program, in their own words.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
    /// What they showed for it: the name of a token, `file` or `signal`.
    pub authenticated_as: String,
}

impl Authorship {
    /// Someone with a reason.
    pub fn new(actor: impl Into<String>, reason: impl Into<String>, authenticated_as: impl Into<String>) -> Self {
        Self { actor: actor.into(), reason: reason.into(), authenticated_as: authenticated_as.into() }
    }

    /// Whoever edited the document's file.
    pub(super) fn of_the_file(reason: &str) -> Self {
        Self::new("file", reason, "file")
    }
}

/// Which revision a change was thought of for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Whatever is the last one.
    #[default]
    Any,
    /// This one; with another one the change is refused.
    Revision(u64),
}

impl From<Option<u64>> for Expect {
    fn from(revision: Option<u64>) -> Self {
        revision.map_or(Self::Any, Self::Revision)
    }
}

/// A change that was made.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The revision it is in force with.
    pub revision: u64,
    /// That revision's hash.
    pub hash: String,
    /// Whether there was anything to change; if not, the revision is the one that was there.
    pub changed: bool,
    /// What it changed; nothing when only the text is another.
    pub differences: Vec<Difference>,
    /// The state it found.
    pub before: Arc<Snapshot>,
    /// The state it made.
    pub after: Arc<Snapshot>,
}

/// Why a change was not made. Nothing has changed then, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The route has one side only.
    #[error("route `{0}` has one side only, so no share of it can move")]
    OneSided(String),
    /// The route's settings do not let it be shadowed.
    #[error(
        "route `{0}` has no settings for shadowing; add a table [routes.shadow] to it in the gateway's configuration"
    )]
    NotShadowed(String),
    /// The rows of the route's slice are the candidate's.
    #[error(
        "the rows of slice `{slice}` are the candidate's, so route `{route}` stays there; `strangler db rollback \
         {slice}` takes the rows back, and the route with them"
    )]
    CutOver {
        /// The route.
        route: String,
        /// Its slice.
        slice: String,
    },
    /// The document that is there has problems that must be mended first.
    #[error("the rollout document is broken, and nothing was changed: {}", .0.summary())]
    BrokenDocument(Problems),
    /// The document that was sent has problems.
    #[error("the document was refused, and nothing was changed: {}", .0.summary())]
    InvalidDocument(Problems),
    /// Another revision is the last one.
    #[error(
        "this was meant for revision {expected}, and the last one is {current}; look at what changed, then ask again"
    )]
    Conflict {
        /// What was expected.
        expected: u64,
        /// What is.
        current: u64,
        /// What was changed in between, the latest last.
        since: Vec<LogEntry>,
    },
    /// There is no such revision.
    #[error("there is no revision {0} to undo")]
    NoSuchRevision(u64),
    /// Undoing this sends traffic back to the candidate.
    #[error("this undoes a rollback and sends traffic of {} back to the candidate; confirm that this is meant", .routes.join(", "))]
    UndoesRollback {
        /// The routes that were rolled back.
        routes: Vec<String>,
    },
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
