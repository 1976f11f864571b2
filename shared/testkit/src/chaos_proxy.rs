use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::background;

const BUFFER_BYTES: usize = 16 * 1024;
/// A slow network hands bytes on this often.
const SLOW_TICK: Duration = Duration::from_millis(20);
/// How long a port that was just given up may take to be bound again.
const REBIND_DEADLINE: Duration = Duration::from_secs(5);

/// What the network between a client and a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Everything passes.
    Pass,
    /// New connections are refused; open ones pass, unless they are [`ChaosProxy::cut`].
    Refuse,
    /// Connections are accepted and stay open, and not a byte passes either way.
    Stall,
    /// Bytes pass at this rate, each way of each connection.
    Slow {
        /// The rate.
        bytes_per_second: usize,
    },
    /// Everything passes this much later.
    Delay(Duration),
}

/// A TCP proxy on loopback whose network can be made worse at any moment, also for open connections.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    commands: mpsc::Sender<(Command, oneshot::Sender<()>)>,
    open: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Become(Network),
    Cut,
}

impl ChaosProxy {
    /// A proxy in front of `upstream` (`host:port`) that lets everything pass.
    ///
    /// # Panics
    /// Loopback cannot be bound.
    pub async fn start(upstream: impl ToString) -> Self {
        let upstream = upstream.to_string();
        background::run(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback can be bound");
            let address = listener.local_addr().expect("a bound listener has an address");
            let (commands, inbox) = mpsc::channel(8);
            let open = Arc::new(AtomicUsize::new(0));
            let relay = Relay { upstream, network: watch::Sender::new(Network::Pass), open: Arc::clone(&open) };
            // Ends when the proxy is dropped, and its connections with it.
            background::spawn(relay.run(listener, address, inbox));
            Self { address, commands, open }
        })
        .await
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network; on return it has changed.
    pub async fn set(&self, network: Network) {
        self.command(Command::Become(network)).await;
    }

    /// Breaks every open connection with a reset; new ones are treated as before.
    pub async fn cut(&self) {
        self.command(Command::Cut).await;
    }

    /// Refuses new connections and breaks the open ones: the server is gone.
    pub async fn take_down(&self) {
        self.set(Network::Refuse).await;
        self.cut().await;
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    async fn command(&self, command: Command) {
        let (done, wait) = oneshot::channel();
        self.commands.send((command, done)).await.expect("the relay lives as long as the proxy");
        wait.await.expect("the relay answers every command");
    }
}

struct Relay {
    upstream: String,
    network: watch::Sender<Network>,
    open: Arc<AtomicUsize>,
}

impl Relay {
    async fn run(
        self,
        listener: TcpListener,
        address: SocketAddr,
        mut inbox: mpsc::Receiver<(Command, oneshot::Sender<()>)>,
    ) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return,
                    Some((command, done)) => {
                        match command {
                            Command::Become(Network::Refuse) => listener = None,
                            Command::Become(_) if listener.is_none() => listener = Some(bind_again(address).await),
                            Command::Become(_) => {}
                            Command::Cut => connections.shutdown().await,
                        }
                        if let Command::Become(network) = command {
                            self.network.send_replace(network);
                        }
                        let _ = done.send(());
                    }
                },
                Some(client) = accept(listener.as_ref()) => {
                    connections.spawn(connection(client, self.upstream.clone(), self.network.subscribe(), Counted::new(&self.open)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn bind_again(address: SocketAddr) -> TcpListener {
    let until = tokio::time::Instant::now() + REBIND_DEADLINE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(tokio::time::Instant::now() < until, "cannot bind {address} again: {error}"),
        }
        tokio::time::sleep(SLOW_TICK).await;
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn connection(client: TcpStream, upstream: String, network: watch::Receiver<Network>, _open: Counted) {
    // Closing with unread bytes or when cut sends a reset, as a broken network looks to both ends.
    let _ = client.set_zero_linger();
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let both =
        tokio::try_join!(relay(client_read, server_write, network.clone()), relay(server_read, client_write, network),);
    drop(both);
}

/// One direction, until its reader ends; then the writer's side is closed in order.
async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let Ok(now) = network.wait_for(|network| *network != Network::Stall).await.map(|network| *network) else {
            return Ok(());
        };
        let most = match now {
            Network::Slow { bytes_per_second } => (bytes_per_second * 20 / 1_000).clamp(1, BUFFER_BYTES),
            _ => BUFFER_BYTES,
        };
        let count = tokio::select! {
            // The state may be worse now: what comes after a change was told is never treated as before it.
            biased;
            changed = network.changed() => match changed { Ok(()) => continue, Err(_) => return Ok(()) },
            read = from.read(&mut buffer[..most]) => read?,
        };
        match now {
            Network::Slow { bytes_per_second } => {
                let pause =
                    SLOW_TICK.max(Duration::from_secs(1) / u32::try_from(bytes_per_second.max(1)).unwrap_or(u32::MAX));
                tokio::time::sleep(pause).await;
            }
            Network::Delay(delay) => tokio::time::sleep(delay).await,
            Network::Pass | Network::Refuse | Network::Stall => {}
        }
        if network.wait_for(|network| *network != Network::Stall).await.is_err() {
            return Ok(());
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
