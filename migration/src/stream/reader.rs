//! Reads the stream of a slot, and tells the server what is durable.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{StreamError, assembly::Assembly};
use crate::{
    apply::Event,
    link::{Feed, Frame},
    lsn::Lsn,
};

/// Events that are handed on together at most, and about as many bytes.
const TOGETHER: usize = 2000;
const TOGETHER_BYTES: usize = 1 << 20;

/// Waits until it is true, or nobody can say so any more.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    let _told_or_gone = stop.wait_for(|stop| *stop).await.is_ok();
}

/// Reads until the connection breaks, the applier ends or somebody says stop.
pub(crate) struct Reader {
    pub(crate) feed: Feed,
    pub(crate) assembly: Assembly,
    pub(crate) events: mpsc::Sender<Vec<Event>>,
    /// What is durable.
    pub(crate) applied: watch::Receiver<Lsn>,
    /// How often the server is told.
    pub(crate) every: Duration,
}

impl Reader {
    /// Reads. `stop` becomes true when no more is to be read; what has been handed on by then may
    /// still be applied.
    pub(crate) async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), StreamError> {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut confirmed = Instant::now();
        loop {
            let frame = tokio::select! {
                frame = self.feed.next() => frame.map_err(StreamError::link("read the stream"))?,
                _ = ticks.tick() => {
                    self.confirm().await?;
                    confirmed = Instant::now();
                    continue;
                }
                () = told(&mut stop) => return Ok(()),
            };
            let mut events = Vec::new();
            let mut bytes = 0;
            let mut next = Some(frame);
            while let Some(frame) = next {
                bytes += if let Frame::Data(data) = &frame { data.len() } else { 0 };
                self.take(frame, &mut events).await?;
                if events.len() >= TOGETHER || bytes >= TOGETHER_BYTES {
                    break;
                }
                next = self.feed.ready().map_err(StreamError::link("read the stream"))?;
            }
            if !events.is_empty() && self.hand_on(events).await?.is_none() {
                return Ok(());
            }
            // A stream that never rests would starve the ticks.
            if confirmed.elapsed() >= self.every {
                self.confirm().await?;
                confirmed = Instant::now();
            }
        }
    }

    async fn take(&mut self, frame: Frame, events: &mut Vec<Event>) -> Result<(), StreamError> {
        let bytes = match frame {
            Frame::Alive { end } => {
                if self.assembly.is_idle() {
                    events.push(Event::Idle(end));
                }
                return Ok(());
            }
            Frame::Data(bytes) => bytes,
        };
        let Some(mut replay) = self.assembly.take(bytes, events)? else { return Ok(()) };
        let reading = |source| StreamError::Link {
            what: "read a large transaction again",
            source: crate::link::LinkError::Io(source),
        };
        let mut bytes = 0;
        while let Some(message) = replay.next().map_err(reading)? {
            bytes += message.len();
            self.assembly.replayed(message, events)?;
            let is_enough = events.len() >= TOGETHER || bytes >= TOGETHER_BYTES;
            if is_enough {
                bytes = 0;
            }
            if is_enough && self.hand_on(std::mem::take(events)).await?.is_none() {
                return Ok(());
            }
        }
        self.assembly.committed(replay.position, events);
        Ok(())
    }

    /// Waits for room, and goes on telling the server that somebody is here. None when the applier
    /// has ended.
    async fn hand_on(&mut self, events: Vec<Event>) -> Result<Option<()>, StreamError> {
        let mut ticks = interval(self.every);
        ticks.tick().await;
        let sender = self.events.clone();
        loop {
            tokio::select! {
                room = sender.reserve() => {
                    let Ok(room) = room else { return Ok(None) };
                    room.send(events);
                    return Ok(Some(()));
                }
                _ = ticks.tick() => self.confirm().await?,
            }
        }
    }

    pub(crate) async fn confirm(&mut self) -> Result<(), StreamError> {
        let applied = *self.applied.borrow_and_update();
        crate::failpoint::hit("stream.before_confirm");
        self.feed.confirm(applied).await.map_err(StreamError::link("confirm what is applied"))
    }
}
