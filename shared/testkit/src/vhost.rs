use std::sync::Arc;
use std::time::Duration;

use local_servers::Signal;

use crate::servers::{RabbitMq, SharedRabbitMq, TestFolder, shared_rabbitmq};
use crate::{background, unique_name};

const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A virtual host of a test's own. It goes away with the broker, at the end of the run.
#[derive(Debug)]
pub struct TestVhost {
    /// How to connect to it.
    pub url: String,
    /// Host and port of the broker, for a [`crate::ChaosProxy`] in front of it.
    pub address: String,
    /// Keeps a broker of this process alive.
    _server: Arc<SharedRabbitMq>,
}

impl TestVhost {
    /// The same virtual host through another address, such as a [`crate::ChaosProxy`]'s.
    #[must_use]
    pub fn url_through(&self, other: &str) -> String {
        self.url.replacen(&self.address, other, 1)
    }
}

/// An empty virtual host of the test's own on the shared broker.
pub async fn rabbitmq() -> TestVhost {
    background::run(async {
        let server = shared_rabbitmq().await;
        let vhost = unique_name("test");
        server.control.create_vhost(&vhost).await.expect("the shared broker makes a virtual host");
        TestVhost { url: server.control.url(&vhost), address: server.control.address(), _server: server }
    })
    .await
}

/// A broker of a test's own, to stop, kill, pause and start again on the same data and port.
#[derive(Debug)]
pub struct PrivateRabbitMq {
    broker: RabbitMq,
    _folder: TestFolder,
}

impl PrivateRabbitMq {
    /// Starts one.
    pub async fn start() -> Self {
        background::run(async {
            let folder = TestFolder::new();
            let broker = RabbitMq::start(&folder.path().join("rabbitmq")).await.expect("RabbitMQ starts");
            Self { broker, _folder: folder }
        })
        .await
    }

    /// How to connect to its default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        self.broker.control().url("%2f")
    }

    /// Shuts it down in order.
    pub async fn stop(&self) {
        self.broker.stop(STOP_DEADLINE).await;
    }

    /// Kills it as a power cut would.
    pub async fn kill(&self) {
        self.broker.kill().await;
    }

    /// Stops its process where it is: connections stay open and nothing answers.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn pause(&self) {
        self.broker.signal(Signal::SIGSTOP).expect("our own child");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// The operating system refuses.
    pub fn resume(&self) {
        self.broker.signal(Signal::SIGCONT).expect("our own child");
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.stop().await;
        let control = self.broker.control().clone();
        self.broker = background::run(RabbitMq::start_again(control)).await.expect("RabbitMQ starts on its data");
    }
}
