//! What became of the copies of a gateway, from its metrics.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::ensure;

/// How many copies there were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copies {
    /// Sent, answered and compared.
    pub compared: u64,
    /// Dropped, for whichever reason.
    pub dropped: u64,
}

impl Copies {
    /// Asks a gateway.
    pub fn of(admin: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.starts_with("HTTP/1.0 200"), "no metrics: {text}");
        let mut copies = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("gateway_shadow_requests_total{")) {
            let count: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            if line.contains("outcome=\"dropped\"") {
                copies.dropped += count;
            } else if !line.contains("outcome=\"not_sampled\"") {
                copies.compared += count;
            }
        }
        Ok(copies)
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { compared: self.compared - before.compared, dropped: self.dropped - before.dropped }
    }
}
