//! What becomes of a request of a shadowed route: exactly one of these.

use comparison::Obstacle;

/// The one outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not to be copied.
    NotSampled,
    /// Both sides answered alike.
    Equal,
    /// They did not.
    Different,
    /// The settings say that it does not count.
    Ignored(Ignored),
    /// It was to be copied and compared, and was not.
    Dropped(Dropped),
}

/// Why a request does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// The route copies no requests of this method.
    Method,
    /// Each difference is one that a rule, or noise that was learnt, explains.
    Differences,
}

/// Why a request was not copied or not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// As many copies as may be are on their way.
    Concurrency,
    /// As many as may be are at this upstream.
    UpstreamConcurrency,
    /// The memory for all copies is spent.
    Memory,
    /// The request's body is over the route's limit.
    RequestTooLarge,
    /// The body of the answer that was served is over the route's limit.
    ServedTooLarge,
    /// The body of the other side's answer is over the route's limit.
    OtherTooLarge,
    /// It asks for another protocol.
    Upgrade,
    /// The answer is a stream of events, which has no end to compare.
    Stream,
    /// It may change something, and the other side has not agreed to dry runs.
    NoDryRun,
    /// The other side did not prove that it was a dry run.
    Unproven,
    /// The other side could not be connected to, or serves nobody now.
    OtherUnavailable,
    /// The other side had no answer to be compared, copy after copy, and is left alone for a moment.
    OtherResting,
    /// The other side had not answered in time.
    OtherTimeout,
    /// The other side broke off, or did not speak HTTP.
    OtherBroken,
    /// The bodies are too deep or too large to be compared within the route's limits.
    ComparisonLimits,
    /// The bodies are encoded in a way that is not known here.
    Encoding,
    /// The side that serves did not answer: the gateway did.
    NotServed,
    /// It was answered before its body had been read.
    RequestUnread,
    /// The client went away before it had the whole answer.
    ClientGone,
    /// The gateway stopped.
    Shutdown,
    /// The gateway failed. It is a defect; the log has more.
    Failed,
}

impl Dropped {
    const ALL: [Self; 21] = [
        Self::Concurrency,
        Self::UpstreamConcurrency,
        Self::Memory,
        Self::RequestTooLarge,
        Self::ServedTooLarge,
        Self::OtherTooLarge,
        Self::Upgrade,
        Self::Stream,
        Self::NoDryRun,
        Self::Unproven,
        Self::OtherUnavailable,
        Self::OtherResting,
        Self::OtherTimeout,
        Self::OtherBroken,
        Self::ComparisonLimits,
        Self::Encoding,
        Self::NotServed,
        Self::RequestUnread,
        Self::ClientGone,
        Self::Shutdown,
        Self::Failed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::UpstreamConcurrency => "upstream_concurrency",
            Self::Memory => "memory",
            Self::RequestTooLarge => "request_too_large",
            Self::ServedTooLarge => "served_too_large",
            Self::OtherTooLarge => "other_too_large",
            Self::Upgrade => "upgrade",
            Self::Stream => "stream",
            Self::NoDryRun => "no_dry_run",
            Self::Unproven => "dry_run_unproven",
            Self::OtherUnavailable => "other_unavailable",
            Self::OtherResting => "other_resting",
            Self::OtherTimeout => "other_timeout",
            Self::OtherBroken => "other_broken",
            Self::ComparisonLimits => "comparison_limits",
            Self::Encoding => "encoding",
            Self::NotServed => "not_served",
            Self::RequestUnread => "request_unread",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
        }
    }
}

impl From<comparison::Outcome> for Outcome {
    fn from(compared: comparison::Outcome) -> Self {
        match compared {
            comparison::Outcome::Equal => Self::Equal,
            comparison::Outcome::Different => Self::Different,
            comparison::Outcome::Ignored => Self::Ignored(Ignored::Differences),
            comparison::Outcome::NotCompared(Obstacle::OverLimits | Obstacle::TooMuchWork) => {
                Self::Dropped(Dropped::ComparisonLimits)
            }
            comparison::Outcome::NotCompared(Obstacle::Encoding) => Self::Dropped(Dropped::Encoding),
        }
    }
}

impl Outcome {
    /// How many there are.
    pub(crate) const COUNT: usize = 5 + Dropped::ALL.len();

    /// All of them, in the order of [`Outcome::index`].
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::NotSampled,
            Self::Equal,
            Self::Different,
            Self::Ignored(Ignored::Method),
            Self::Ignored(Ignored::Differences),
        ];
        others.into_iter().chain(Dropped::ALL.map(Self::Dropped))
    }

    /// Its place among all.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::NotSampled => 0,
            Self::Equal => 1,
            Self::Different => 2,
            Self::Ignored(Ignored::Method) => 3,
            Self::Ignored(Ignored::Differences) => 4,
            Self::Dropped(why) => 5 + why as usize,
        }
    }

    /// Whether two answers that were compared differed. An answer whose differences are all explained is as
    /// good as an equal one: where ids are made anew, no two answers are ever equal.
    pub(crate) const fn differed(self) -> Option<bool> {
        match self {
            Self::Equal | Self::Ignored(Ignored::Differences) => Some(false),
            Self::Different => Some(true),
            Self::NotSampled | Self::Ignored(Ignored::Method) | Self::Dropped(_) => None,
        }
    }

    /// The labels `outcome` and `reason` of metrics.
    pub(crate) const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::NotSampled => ["not_sampled", ""],
            Self::Equal => ["equal", ""],
            Self::Different => ["different", ""],
            Self::Ignored(Ignored::Method) => ["ignored", "method"],
            Self::Ignored(Ignored::Differences) => ["ignored", "differences"],
            Self::Dropped(why) => ["dropped", why.as_str()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_outcome_has_a_place_and_labels_of_its_own() {
        let places: Vec<usize> = Outcome::all().map(Outcome::index).collect();
        assert_eq!(places, (0..Outcome::COUNT).collect::<Vec<_>>());
        assert_eq!(Outcome::all().map(Outcome::labels).collect::<BTreeSet<_>>().len(), Outcome::COUNT);
    }

    #[test]
    fn an_answer_whose_differences_are_explained_was_compared_and_found_the_same() {
        let ended =
            |different| Outcome::all().filter(|outcome| outcome.differed() == Some(different)).collect::<Vec<_>>();
        assert_eq!(ended(true), [Outcome::Different]);
        assert_eq!(ended(false), [Outcome::Equal, Outcome::Ignored(Ignored::Differences)]);
    }
}
