//! The stream of a slot.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use postgres_protocol::message::backend::Message;
use tokio::time::timeout;

use super::{
    error::LinkError,
    session::{Session, refusal},
};
use crate::lsn::Lsn;

/// PostgreSQL counts from 2000-01-01.
const EPOCH: Duration = Duration::from_secs(946_684_800);

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message of the output plugin.
    Data(Bytes),
    /// Everything before this position has been sent.
    Alive { end: Lsn },
}

/// A session that streams what a slot decodes.
pub(crate) struct Feed {
    session: Session,
    silence: Duration,
}

impl Feed {
    /// Begins to stream; the server sends what commits after `from`, or after what the slot has
    /// confirmed, whichever is later. `options` are the plugin's, each as SQL.
    pub(crate) async fn start(
        mut session: Session,
        slot: &str,
        from: Lsn,
        options: &str,
        silence: Duration,
    ) -> Result<Self, LinkError> {
        session.copy_both(&format!("START_REPLICATION SLOT \"{slot}\" LOGICAL {from} ({options})")).await?;
        Ok(Self { session, silence })
    }

    /// The next message. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Frame, LinkError> {
        loop {
            let message = timeout(self.silence, self.session.receive())
                .await
                .map_err(|_| LinkError::Silent { seconds: self.silence.as_secs() })??;
            if let Some(frame) = frame(message)? {
                return Ok(frame);
            }
        }
    }

    /// A message that has arrived already.
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>, LinkError> {
        while let Some(message) = self.session.received()? {
            if let Some(frame) = frame(Some(message))? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Tells the server that everything before a position is durable here, and asks where it stands.
    pub(crate) async fn confirm(&mut self, upto: Lsn) -> Result<(), LinkError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH + EPOCH).unwrap_or_default();
        let mut update = Vec::with_capacity(34);
        update.push(b'r');
        for _written_flushed_applied in 0..3 {
            update.extend_from_slice(&upto.0.to_be_bytes());
        }
        update.extend_from_slice(&i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX).to_be_bytes());
        update.push(1);
        self.session.send_copy_data(&update).await
    }
}

fn frame(message: Option<Message>) -> Result<Option<Frame>, LinkError> {
    let mut data = match message {
        Some(Message::CopyData(body)) => body.into_bytes(),
        Some(Message::ErrorResponse(error)) => return Err(refusal(error.fields())),
        Some(Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_)) => {
            return Err(LinkError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        _ => return Ok(None),
    };
    let short = || LinkError::Protocol("a message of the stream that is cut off".to_owned());
    match data.try_get_u8().map_err(|_| short())? {
        // Start, end and time: the plugin's own messages say what counts.
        b'w' if data.len() >= 24 => {
            data.advance(24);
            Ok(Some(Frame::Data(data)))
        }
        b'k' if data.len() >= 17 => Ok(Some(Frame::Alive { end: Lsn(data.get_u64()) })),
        b'w' | b'k' => Err(short()),
        other => Err(LinkError::Protocol(format!("a message of the stream of kind {other:#04x}"))),
    }
}
