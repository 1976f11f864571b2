//! Connections to the broker.

use std::{str::FromStr as _, time::Duration};

use lapin::{Channel, Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable, uri::AMQPUri};

use crate::{RabbitmqConfig, Topology};

/// Why the broker did not say how much waits.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CountError(#[from] lapin::Error);

/// How to reach the broker, and what must be there.
#[derive(Debug, Clone)]
pub struct Broker {
    config: RabbitmqConfig,
    application: String,
    topology: Topology,
}

impl Broker {
    /// A broker that `application`, as it shall be called in the broker's lists, speaks to. Nothing is sent yet.
    #[must_use]
    pub fn new(config: RabbitmqConfig, application: &str, topology: Topology) -> Self {
        Self { config, application: application.to_owned(), topology }
    }

    /// A new connection with one channel, after whose declaration the topology is there. The
    /// channel lives as long as the connection.
    pub(crate) async fn connect(&self, purpose: &str) -> Result<(Connection, Channel), lapin::Error> {
        let connecting = async {
            let mut uri = AMQPUri::from_str(self.config.url.expose()).map_err(|_| {
                lapin::Error::from(lapin::ErrorKind::InvalidConnectionState(lapin::ConnectionState::Error))
            })?;
            uri.query.heartbeat = Some(u16::try_from(self.config.heartbeat.get().as_secs()).unwrap_or(u16::MAX));
            let name = format!("{} {purpose}", self.application);
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connection = Connection::connect_uri(uri, properties).await?;
            let channel = connection.create_channel().await?;
            self.topology.declare(&channel).await?;
            Ok((connection, channel))
        };
        match tokio::time::timeout(self.config.connect_timeout.get(), connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// How many messages wait in these queues together; those that somebody was handed and has not acknowledged are not
    /// among them.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn messages(&self, queues: &[&str]) -> Result<u64, CountError> {
        let (connection, channel) = self.connect("count").await?;
        let mut waiting = 0;
        for name in queues {
            let options = QueueDeclareOptions { passive: true, ..Default::default() };
            let queue = channel.queue_declare((*name).into(), options, FieldTable::default()).await?;
            waiting += u64::from(queue.message_count());
        }
        // Dropping it would end it as well, with a warning in the broker's log.
        connection.close(200, "counted".into()).await?;
        Ok(waiting)
    }

    pub(crate) const fn publish_timeout(&self) -> Duration {
        self.config.publish_timeout.get()
    }

    pub(crate) fn application(&self) -> &str {
        &self.application
    }
}
