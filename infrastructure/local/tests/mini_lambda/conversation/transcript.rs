//! What was said in one run of the conversation.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use testkit::eventually;

use super::{
    reply::{Names, Reply},
    step::{Case, Home, Step},
};
use crate::mini_lambda::site::{PATIENCE, Side, System};

/// How long an answer may take that comes only after a while.
const AWAITED: Duration = Duration::from_secs(15);

/// Whom the conversation is held with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partner {
    Legacy,
    Candidate,
    /// The gateway, with every route that can move at this percentage.
    Gateway(i64),
}

impl Partner {
    const fn part(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Candidate => "lambda-service",
            Self::Gateway(_) => "gateway",
        }
    }

    /// The run's name: of one length for all, so that names of a given length can be made with it.
    fn run(self) -> String {
        match self {
            Self::Legacy => "runLEG".to_owned(),
            Self::Candidate => "runCAN".to_owned(),
            Self::Gateway(percent) => format!("run{percent:03}"),
        }
    }

    /// Whether it has such a route.
    fn has(self, home: Home) -> bool {
        match self {
            Self::Legacy => home != Home::CandidateOnly,
            Self::Candidate => home != Home::LegacyOnly,
            Self::Gateway(_) => home != Home::EachOwn,
        }
    }

    /// The side that must answer; none when either may.
    const fn side(self, home: Home) -> Option<Side> {
        match (self, home) {
            (Self::Legacy, _) | (_, Home::LegacyOnly) | (Self::Gateway(_), Home::Stays) => Some(Side::Legacy),
            (Self::Candidate, _) | (_, Home::CandidateOnly) => Some(Side::Candidate),
            (Self::Gateway(0), _) => Some(Side::Legacy),
            (Self::Gateway(100), _) => Some(Side::Candidate),
            (Self::Gateway(_), _) => None,
        }
    }
}

impl std::fmt::Display for Partner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Legacy => f.write_str("legacy"),
            Self::Candidate => f.write_str("candidate"),
            Self::Gateway(percent) => write!(f, "gateway at {percent} %"),
        }
    }
}

/// One run: for each step of each case, in order, what was answered.
pub struct Transcript {
    pub partner: Partner,
    pub entries: Vec<Entry>,
}

/// One answer; none where the partner has no such route.
pub struct Entry {
    pub case: usize,
    pub step: usize,
    pub home: Home,
    pub answered: Option<(Side, Reply)>,
    /// The function whose key the request has.
    key: Option<String>,
}

impl Transcript {
    /// Holds the conversation.
    pub async fn record(system: &System, partner: Partner, cases: &[Case]) -> Self {
        let begun = Instant::now();
        let mut entries = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            let mut names = Names::of_run(&partner.run());
            for (number, step) in case.steps.iter().enumerate() {
                let home = step.request.home();
                let key = step.request.key().map(|key| names.fill(key));
                let answered =
                    if partner.has(home) { Some(say(system, partner, step, &mut names).await) } else { None };
                entries.push(Entry { case: index, step: number, home, answered, key });
            }
        }
        eprintln!("{partner}: {} steps in {:.1?}", entries.len(), begun.elapsed());
        Self { partner, entries }
    }

    /// Which sides answered on routes that move.
    pub fn moved_sides(&self) -> HashSet<Side> {
        let moved = self.entries.iter().filter(|entry| entry.home == Home::Moves);
        moved.filter_map(|entry| entry.answered.as_ref()).map(|(side, _)| *side).collect()
    }

    /// The side of each keyed request.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Side)> {
        self.entries.iter().filter_map(|entry| Some((entry.key.as_deref()?, entry.answered.as_ref()?.0)))
    }
}

/// Sends one request, again and again where the answer has to be waited for.
async fn say(system: &System, partner: Partner, step: &Step, names: &mut Names) -> (Side, Reply) {
    let last = std::sync::Mutex::new(None);
    let once = || async {
        let (side, reply) = ask(system, partner, step, names).await;
        let is_it = names.normalise(&reply).is(step.expected.of(side));
        *last.lock().expect("nobody panics with it") = Some((side, reply));
        is_it
    };
    if step.is_awaited {
        // What does not come is shown with the other differences.
        let _ = tokio::time::timeout(AWAITED, eventually(PATIENCE, once)).await;
    } else {
        once().await;
    }
    let (side, reply) = last.into_inner().expect("nobody panics with it").expect("asked at least once");
    for (name, pointer) in &step.captures {
        names.capture(name, pointer, &reply.body);
    }
    (side, names.normalise(&reply))
}

async fn ask(system: &System, partner: Partner, step: &Step, names: &Names) -> (Side, Reply) {
    let request = &step.request;
    let url = system.url(partner.part(), &names.fill(&request.path));
    let mut sent = system.client.request(request.method.clone(), url).body(names.fill(&request.body));
    for (name, value) in &request.headers {
        sent = sent.header(name, names.fill(value));
    }
    let response = sent.send().await.unwrap_or_else(|error| panic!("{partner} does not answer {request}: {error:?}"));
    let served = match partner {
        Partner::Legacy => Side::Legacy,
        Partner::Candidate => Side::Candidate,
        Partner::Gateway(_) => {
            Side::of(&response).unwrap_or_else(|| panic!("{partner} answered {request} itself: {response:?}"))
        }
    };
    let must = partner.side(request.home());
    assert!(must.is_none_or(|must| must == served), "{partner}: {request} was served by {served:?}");
    (served, Reply::read(response).await)
}
