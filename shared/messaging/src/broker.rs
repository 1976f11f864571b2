//! Connections to the broker.

use std::{str::FromStr as _, time::Duration};

use lapin::{Channel, Connection, ConnectionProperties, uri::AMQPUri};

use crate::{RabbitmqConfig, Topology};

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

    pub(crate) const fn publish_timeout(&self) -> Duration {
        self.config.publish_timeout.get()
    }

    pub(crate) fn application(&self) -> &str {
        &self.application
    }
}
