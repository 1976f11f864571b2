//! Steady traffic: calls of some functions and reads of all of them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use domain::FunctionId;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Duration, MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Pace,
    functions::Kind,
    platform::{Failure, Platform, Side},
    tally::Sample,
};

/// One function that exists.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) id: FunctionId,
    pub(super) kind: &'static Kind,
}

/// Requests that have begun and not ended, by number.
#[derive(Default)]
pub(super) struct Outstanding(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    next: u64,
    out: BTreeSet<u64>,
}

impl Outstanding {
    fn begin(&self) -> u64 {
        let mut numbers = self.numbers();
        let number = numbers.next;
        numbers.next += 1;
        numbers.out.insert(number);
        number
    }

    fn end(&self, number: u64) {
        self.numbers().out.remove(&number);
    }

    /// For [`Outstanding::has_ended`]: requests that begin from now on come after it.
    pub(super) fn mark(&self) -> u64 {
        self.numbers().next
    }

    /// Whether all requests have ended that had begun at a mark.
    pub(super) fn has_ended(&self, mark: u64) -> bool {
        self.numbers().out.first().is_none_or(|first| *first >= mark)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Traffic that runs until it is stopped.
pub(super) struct Traffic {
    stop: CancellationToken,
    streams: Vec<JoinHandle<()>>,
    requests: TaskTracker,
    pub(super) outstanding: Arc<Outstanding>,
}

impl Traffic {
    /// Begins the traffic; what comes back goes to `samples`.
    pub(super) fn start(
        platform: &Platform,
        functions: &Arc<[Function]>,
        pace: Pace,
        samples: mpsc::UnboundedSender<Sample>,
    ) -> Self {
        let stream = Stream {
            platform: platform.clone(),
            functions: Arc::clone(functions),
            samples,
            requests: TaskTracker::new(),
            outstanding: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (stop, requests, outstanding) =
            (stream.stop.clone(), stream.requests.clone(), Arc::clone(&stream.outstanding));
        let calls = Load { is_call: true, per_s: pace.calls_per_s, keys: pace.called, at_a_time: pace.calls_at_a_time };
        let reads = Load { is_call: false, per_s: pace.reads_per_s, keys: pace.keys, at_a_time: pace.reads_at_a_time };
        let calls = tokio::spawn(stream.clone().run(calls));
        let reads = tokio::spawn(stream.run(reads));
        Self { stop, streams: vec![calls, reads], requests, outstanding }
    }

    /// Begins no more requests and waits for those that are out.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for stream in self.streams {
            stream.await?;
        }
        self.requests.close();
        self.requests.wait().await;
        Ok(())
    }
}

#[derive(Clone)]
struct Stream {
    platform: Platform,
    functions: Arc<[Function]>,
    samples: mpsc::UnboundedSender<Sample>,
    requests: TaskTracker,
    outstanding: Arc<Outstanding>,
    stop: CancellationToken,
}

/// What a stream begins.
#[derive(Clone, Copy)]
struct Load {
    is_call: bool,
    per_s: u32,
    /// Over the first so many functions, in turn.
    keys: usize,
    at_a_time: usize,
}

impl Stream {
    async fn run(self, load: Load) {
        let Load { is_call, per_s, keys, at_a_time } = load;
        let places = Arc::new(Semaphore::new(at_a_time));
        let mut ticks = interval(Duration::from_secs(1) / per_s.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let key = usize::try_from(number).unwrap_or(0) % keys.min(self.functions.len()).max(1);
            let (stream, function) = (self.clone(), self.functions[key]);
            let begun = self.outstanding.begin();
            self.requests.spawn(async move {
                let started = Instant::now();
                let outcome = if is_call { stream.call(function, number).await } else { stream.read(function).await };
                let outcome = outcome
                    .map_err(|failure| Failure { why: format!("{}: {}", function.kind.name, failure.why), ..failure });
                // The collector is gone only when the demonstration was broken off.
                let _ = stream.samples.send(Sample { key, is_call, started, ended: Instant::now(), outcome });
                stream.outstanding.end(begun);
                drop(place);
            });
        }
    }

    async fn call(&self, function: Function, number: u64) -> Result<(Side, u64), Failure> {
        let served = self.platform.invoke(function.id, &function.kind.event(number)).await?;
        let failed = |why: String| Failure::of(Some(served.side), why);
        let answer = &served.answer;
        let output = match &answer.output {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| failed(error.to_string()))?,
            None => Value::Null,
        };
        function.kind.check(number, answer.status, &output, &answer.error).map_err(failed)?;
        Ok((served.side, micros(served.latency)))
    }

    async fn read(&self, function: Function) -> Result<(Side, u64), Failure> {
        let served = self.platform.read(function.id).await?;
        if served.answer.function_id != function.id {
            return Err(Failure::of(Some(served.side), "another function came back"));
        }
        Ok((served.side, micros(served.latency)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
