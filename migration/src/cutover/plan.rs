//! Whether a slice may be cut over, or rolled back, now. Pure.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{gateway::DataStage, unfit::UnfitRows};
use crate::{
    mapping::{Owner, UnfitPolicy},
    stream::Direction,
};

/// A running stream applies a heartbeat every few seconds; one that has not for so long is not running.
const SILENCE: Duration = Duration::from_secs(15);

/// What is known before a cutover.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Situation {
    /// The slice.
    pub slice: String,
    /// To the candidate, or back.
    pub direction: Direction,
    /// Who may write while both sides run.
    pub owner_policy: Owner,
    /// How far the rollout says its rows have come; none where the gateway knows no such slice.
    pub stage: Option<DataStage>,
    /// The routes of the slice.
    pub routes: Vec<String>,
    /// Whether somebody's fence stands.
    pub fenced: bool,
    /// The stream that brings the old owner's rows to the new one.
    pub stream: Option<StreamSituation>,
    /// The stream back, if it has begun.
    pub stream_back: Option<StreamSituation>,
    /// Rows that were compared just now, and how many of them differ; none where they were not.
    pub compared: Option<Compared>,
    /// Tables without a key: changes of their rows cannot be found again.
    pub keyless: Vec<String>,
    /// What the candidate may write that the monolith could not hold.
    pub narrower: Vec<String>,
    /// What it has written, or been brought, that the monolith could not hold.
    pub unfit: UnfitRows,
    /// What becomes of it then.
    pub unfit_policy: UnfitPolicy,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Rows.
    pub rows: u64,
    /// Rows that are not the same.
    pub differ: u64,
}

/// How a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamSituation {
    /// Whether changes flow; not so while rows are copied or indexes made.
    pub flows: bool,
    /// Its stage in words.
    pub stage: String,
    /// Since it applied anything last, in milliseconds.
    pub idle_ms: Option<i64>,
    /// Changes that could not be applied.
    pub quarantined: u64,
    /// Why it stopped by itself: a change of the schema among others.
    pub reason: Option<String>,
}

/// Something that must change first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// What would happen, or what stands against it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What it was made from.
    pub situation: Situation,
    /// What must change first; none when it may begin.
    pub obstacles: Vec<Obstacle>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// What would be done, in this order.
    pub steps: Vec<String>,
}

impl Plan {
    /// Decides.
    #[must_use]
    pub fn new(situation: Situation, hold: Duration) -> Self {
        let mut obstacles = Vec::new();
        let mut found = |what: String, fix: String| obstacles.push(Obstacle { what, fix });
        check_stage(&situation, &mut found);
        check_stream(&situation, &mut found);
        if let Some(Compared { differ, .. }) = situation.compared.filter(|compared| compared.differ > 0) {
            let fix = format!("see which with `strangler db verify {}`", situation.slice);
            found(format!("{differ} rows or more are not the same on both sides"), fix);
        }
        if situation.unfit_policy == UnfitPolicy::Refuse && !situation.unfit.rows.is_empty() {
            let fix = "mend them, let the mapping's `write` make what fits, or set unfit_rows = \"list\" in the slice"
                .to_owned();
            found(format!("the monolith could not hold {}", unfit_rows(&situation.unfit)), fix);
        }
        if situation.fenced {
            found("somebody's fence stands".to_owned(), "wait until it is lifted or its lease is over".to_owned());
        }
        let (notes, steps) = (notes(&situation), steps(&situation, hold));
        Self { situation, obstacles, notes, steps }
    }
}

fn check_stage(situation: &Situation, found: &mut impl FnMut(String, String)) {
    let Situation { slice, direction, .. } = situation;
    if situation.owner_policy == Owner::Append {
        let fix = "let its streams run both ways, and move its routes by their weights".to_owned();
        found(format!("both sides add rows to slice `{slice}` all the time, so it has no owner to change"), fix);
    }
    match (situation.stage, direction) {
        (None, _) => {
            let fix = format!("add [slices.{slice}] to gateway.toml, and `slice = \"{slice}\"` to its routes");
            found(format!("the gateway knows no slice `{slice}`"), fix);
        }
        (Some(DataStage::CutOver | DataStage::Complete), Direction::Forward) => {
            found("its rows are the candidate's already".to_owned(), "nothing is left to do".to_owned());
        }
        (Some(DataStage::Complete), Direction::Reverse) => {
            found("the slice is complete".to_owned(), "there is no way back from that".to_owned());
        }
        (Some(DataStage::Shared | DataStage::Synced), Direction::Reverse) => {
            found("its rows are the monolith's already".to_owned(), "nothing is left to do".to_owned());
        }
        (Some(_), _) => {}
    }
    if situation.stage.is_some() && situation.routes.is_empty() {
        let fix = format!("add `slice = \"{slice}\"` to every route that reads or writes its tables");
        found("no route is of this slice, so nothing would be held and nothing would follow".to_owned(), fix);
    }
}

fn check_stream(situation: &Situation, found: &mut impl FnMut(String, String)) {
    let slice = &situation.slice;
    let sync = format!("run `strangler db sync {slice}`");
    let Some(stream) = &situation.stream else {
        return found("nothing brings the old owner's rows to the new one".to_owned(), sync);
    };
    if let Some(reason) = &stream.reason {
        found("the stream has stopped".to_owned(), reason.clone());
    } else if !stream.flows {
        found(format!("the stream is {}", stream.stage), "wait until changes flow".to_owned());
    } else if stream.idle_ms.is_none_or(|idle| u128::from(idle.unsigned_abs()) > SILENCE.as_millis()) {
        found("nobody runs the stream".to_owned(), format!("{sync} and leave it running"));
    }
    for (stream, way) in [(Some(stream), "to the new owner"), (situation.stream_back.as_ref(), "back")] {
        if let Some(quarantined) = stream.map(|stream| stream.quarantined).filter(|quarantined| *quarantined > 0) {
            let fix = format!("see them with `strangler db quarantine {slice}`, and retry or skip each");
            found(format!("{quarantined} changes on the way {way} could not be applied"), fix);
        }
    }
}

fn notes(situation: &Situation) -> Vec<String> {
    let mut notes = situation.narrower.clone();
    notes.extend(situation.keyless.iter().map(|table| format!("{table} has no key: only added rows travel")));
    if situation.unfit_policy == UnfitPolicy::List && !situation.unfit.rows.is_empty() {
        notes.push(format!(
            "the monolith could not hold {}; on the way back they wait in quarantine",
            unfit_rows(&situation.unfit)
        ));
    }
    notes.extend(
        situation
            .unfit
            .untried
            .iter()
            .map(|untried| format!("not tried whether the monolith could hold all rows: {untried}")),
    );
    if let Some(Compared { rows, differ: 0 }) = situation.compared {
        notes.push(format!("{rows} rows compared, all the same"));
    }
    notes
}

fn unfit_rows(UnfitRows { rows, more, .. }: &UnfitRows) -> String {
    let named: Vec<String> = rows.iter().map(|row| format!("{} {} ({})", row.table, row.key, row.reason)).collect();
    format!("{}{}", named.join(", "), if *more { ", and more" } else { "" })
}

fn steps(situation: &Situation, hold: Duration) -> Vec<String> {
    let Situation { routes, direction, .. } = situation;
    let (old, new) = match direction {
        Direction::Forward => ("the monolith", "the candidate"),
        Direction::Reverse => ("the candidate", "the monolith"),
    };
    let routes = routes.join(", ");
    vec![
        "begin the stream back, unless it runs; ask the hooks `before`".to_owned(),
        format!("hold the writes of {routes} in every gateway, for {} ms at most; reads go on", hold.as_millis()),
        format!("keep everybody from writing the slice's tables in the database of {old}"),
        format!("wait until every row is in the database of {new}; set its sequences; compare the newest rows"),
        format!("make {new} the owner and send {routes} there, in one revision of the rollout"),
        format!("let {old}'s tables refuse writes, let the held writes go on, ask the hooks `after`"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutover::unfit::Unfit;

    fn good(direction: Direction) -> Situation {
        let stream = StreamSituation {
            flows: true,
            stage: "streaming".to_owned(),
            idle_ms: Some(900),
            quarantined: 0,
            reason: None,
        };
        Situation {
            slice: "functions".to_owned(),
            direction,
            owner_policy: Owner::Switch,
            stage: Some(if direction == Direction::Forward { DataStage::Synced } else { DataStage::CutOver }),
            routes: vec!["invoke".to_owned()],
            fenced: false,
            stream: Some(stream),
            stream_back: None,
            compared: Some(Compared { rows: 7, differ: 0 }),
            keyless: Vec::new(),
            narrower: Vec::new(),
            unfit: UnfitRows::default(),
            unfit_policy: UnfitPolicy::Refuse,
        }
    }

    fn long_name() -> UnfitRows {
        let reason = "text: does not fit varchar(5) (22001)".to_owned();
        UnfitRows {
            rows: vec![Unfit { table: "shop.note".to_owned(), key: "{7}".to_owned(), reason }],
            ..UnfitRows::default()
        }
    }

    #[test]
    fn rows_that_the_monolith_cannot_hold_are_listed_where_that_is_the_policy() {
        let listed = Situation { unfit: long_name(), unfit_policy: UnfitPolicy::List, ..good(Direction::Forward) };
        let plan = Plan::new(listed, Duration::from_secs(5));
        assert!(plan.obstacles.is_empty(), "{:?}", plan.obstacles);
        assert!(
            plan.notes.iter().any(|note| note.contains("shop.note {7}") && note.contains("quarantine")),
            "{:?}",
            plan.notes
        );
    }

    fn obstacles(situation: Situation) -> Vec<String> {
        let plan = Plan::new(situation, Duration::from_secs(5));
        plan.obstacles.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_slice_that_flows_and_is_the_same_may_move_either_way() {
        assert_eq!(obstacles(good(Direction::Forward)), Vec::<String>::new());
        assert_eq!(obstacles(good(Direction::Reverse)), Vec::<String>::new());
    }

    #[test]
    fn each_doubt_stands_against_it_with_what_to_do() {
        let stream = |edit: fn(&mut StreamSituation)| {
            let mut situation = good(Direction::Forward);
            situation.stream.iter_mut().for_each(edit);
            situation
        };
        let with = |edit: fn(&mut Situation)| {
            let mut situation = good(Direction::Forward);
            edit(&mut situation);
            situation
        };
        for (situation, expected) in [
            (with(|it| it.stage = None), "add [slices.functions]"),
            (with(|it| it.stage = Some(DataStage::CutOver)), "the candidate's already"),
            (with(|it| it.routes.clear()), "no route is of this slice"),
            (with(|it| it.owner_policy = Owner::Append), "no owner to change"),
            (with(|it| it.fenced = true), "somebody's fence"),
            (with(|it| it.stream = None), "strangler db sync functions"),
            (with(|it| it.compared = Some(Compared { rows: 7, differ: 1 })), "strangler db verify functions"),
            (with(|it| it.unfit = long_name()), "shop.note {7} (text: does not fit varchar(5) (22001))"),
            (stream(|it| it.flows = false), "wait until changes flow"),
            (stream(|it| it.idle_ms = Some(60_000)), "leave it running"),
            (stream(|it| it.idle_ms = None), "leave it running"),
            (stream(|it| it.quarantined = 2), "2 changes on the way to the new owner"),
            (stream(|it| it.reason = Some("a column was added".to_owned())), "a column was added"),
        ] {
            let found = obstacles(situation);
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
        }
        let mut complete = good(Direction::Reverse);
        complete.stage = Some(DataStage::Complete);
        assert!(obstacles(complete)[0].contains("no way back"));
    }
}
