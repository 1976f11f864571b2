//! The smallest proxy that pingora makes: one upstream, no routes, no metrics, no log. The yardstick of
//! `scripts/bench proxy`: what the gateway costs beyond its engine.
//!
//! `bare_pingora LISTEN UPSTREAM`, both `address:port`; one worker thread, like its rivals there.
#![allow(clippy::expect_used, reason = "a yardstick ends at the first thing that is wrong")]

use std::{env, net::SocketAddr};

use async_trait::async_trait;
use pingora::{
    Result,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().expect("usage: bare_pingora LISTEN UPSTREAM");
    let upstream = arguments.next().and_then(|text| text.parse().ok()).expect("usage: bare_pingora LISTEN UPSTREAM");
    // The engine as the gateway configures it: one thread, nothing that steals work.
    let conf =
        ServerConf { threads: 1, work_stealing: false, upstream_keepalive_pool_size: 512, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare { upstream });
    proxy.add_tcp(&listen);
    server.add_service(proxy);
    server.run_forever();
}
