//! What a copy must not do to the servers: what is looked at, and where it has to wait.

use std::time::Duration;

use serde::Serialize;

/// Above these a copy pauses, and goes on when all of them hold again. What has no limit is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Sessions of others that are at work in the source's database, waiting for a lock included.
    pub active_sessions: Option<u32>,
    /// How long a commit takes at the source, by one of our own that writes nothing but a message.
    pub commit: Option<Duration>,
    /// Bytes of log that a standby of either server has not replayed, or that a running stream of either
    /// database has not confirmed. A stream confirms every second, so that the log of a second always counts.
    pub lag_bytes: Option<u64>,
    /// How often all of it is looked at.
    pub every: Duration,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self { active_sessions: None, commit: None, lag_bytes: None, every: Duration::from_secs(1) }
    }
}

/// What was found at the latest look; none where nothing was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Sessions of others at work in the source's database.
    pub active_sessions: Option<u64>,
    /// What a commit took at the source, in microseconds.
    pub commit_us: Option<u64>,
    /// The farthest that anybody is behind the log of either server, in bytes.
    pub lag_bytes: Option<u64>,
}

impl LoadLimits {
    /// Whether there is anything to look at.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.active_sessions.is_none() && self.commit.is_none() && self.lag_bytes.is_none()
    }

    /// Why a copy has to wait; none when it may go on.
    #[must_use]
    pub fn exceeded(&self, load: &Load) -> Option<String> {
        let sessions = over(load.active_sessions, self.active_sessions.map(u64::from))
            .map(|(found, limit)| format!("{found} sessions at work on the source, more than {limit}"));
        let commit = over(load.commit_us, self.commit.map(micros)).map(|(found, limit)| {
            format!("a commit of the source takes {} ms, more than {} ms", found / 1000, limit / 1000)
        });
        let lag = over(load.lag_bytes, self.lag_bytes)
            .map(|(found, limit)| format!("replication is {} KiB behind, more than {} KiB", found >> 10, limit >> 10));
        let why: Vec<String> = [sessions, commit, lag].into_iter().flatten().collect();
        (!why.is_empty()).then(|| why.join("; "))
    }
}

fn over(found: Option<u64>, limit: Option<u64>) -> Option<(u64, u64)> {
    found.zip(limit).filter(|(found, limit)| found > limit)
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_waits_for_whatever_is_over_its_limit_and_names_it() {
        let limits = LoadLimits {
            active_sessions: Some(4),
            commit: Some(Duration::from_millis(50)),
            lag_bytes: Some(1 << 20),
            ..LoadLimits::default()
        };
        let at_the_limits = Load { active_sessions: Some(4), commit_us: Some(50_000), lag_bytes: Some(1 << 20) };
        assert_eq!(limits.exceeded(&at_the_limits), None);
        let over = Load { active_sessions: Some(5), commit_us: Some(60_000), lag_bytes: Some(2 << 20) };
        assert_eq!(
            limits.exceeded(&over).as_deref(),
            Some(
                "5 sessions at work on the source, more than 4; a commit of the source takes 60 ms, more than 50 ms; \
                 replication is 2048 KiB behind, more than 1024 KiB"
            )
        );
        assert_eq!(LoadLimits::default().exceeded(&over), None);
        assert!(LoadLimits::default().is_none() && !limits.is_none());
    }
}
