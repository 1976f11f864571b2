//! The smallest proxy that pingora makes: no routes, no metrics, no log. The yardstick of `scripts/bench proxy`: what
//! the gateway costs beyond its engine.
//!
//! `bare_pingora LISTEN UPSTREAM`, both `address:port`; one worker thread, like its rivals there. With a second
//! `UPSTREAM` it takes the one and the other in turn, and gives both the time limits that the gateway gives its
//! upstreams: what the engine costs whoever uses it as a gateway has to.
#![allow(clippy::expect_used, reason = "a yardstick ends at the first thing that is wrong")]

use std::{
    env,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    Result,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};

struct Bare {
    upstreams: Vec<SocketAddr>,
    asked: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let [only] = self.upstreams[..] else {
            let next = self.asked.fetch_add(1, Ordering::Relaxed) % self.upstreams.len();
            return Ok(Box::new(within_limits(session, self.upstreams[next])));
        };
        Ok(Box::new(HttpPeer::new(only, false, String::new())))
    }
}

/// The gateway's defaults.
fn within_limits(session: &mut Session, upstream: SocketAddr) -> HttpPeer {
    let (minute, half, second) = (Duration::from_secs(60), Duration::from_secs(30), Duration::from_secs(1));
    session.set_read_timeout(Some(minute));
    session.set_write_timeout(Some(minute));
    let mut peer = HttpPeer::new(upstream, false, String::new());
    peer.options.connection_timeout = Some(second);
    peer.options.total_connection_timeout = Some(second);
    peer.options.read_timeout = Some(minute);
    peer.options.write_timeout = Some(half);
    peer.options.idle_timeout = Some(half);
    peer
}

fn main() {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().expect("usage: bare_pingora LISTEN UPSTREAM [UPSTREAM]");
    let upstreams: Vec<SocketAddr> = arguments.map(|text| text.parse().expect("an upstream is ADDRESS:PORT")).collect();
    assert!(!upstreams.is_empty(), "usage: bare_pingora LISTEN UPSTREAM [UPSTREAM]");
    // The engine as the gateway configures it: one thread, nothing that steals work.
    let conf =
        ServerConf { threads: 1, work_stealing: false, upstream_keepalive_pool_size: 512, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare { upstreams, asked: AtomicUsize::new(0) };
    let mut proxy = http_proxy_service(&server.configuration, bare);
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
