//! A client's TCP connection, as pingora takes it.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, l4::stream::Stream as TcpConnection, raw_connect::ProxyDigest,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, ReadBuf},
    net::TcpStream,
};

use super::metrics::OpenConnection;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4). No HTTP/1 request begins like it.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Header and body of a small answer leave in one packet. Whatever must not wait is flushed by pingora.
const WRITE_BUFFER_BYTES: usize = 1_460;

/// The connection, below TLS where there is TLS.
#[derive(Debug)]
pub(super) struct ClientStream {
    tcp: BufWriter<TcpConnection>,
    /// The client spoke HTTP/2 first, without TLS to agree on it.
    http2: bool,
    /// Makes room for another connection when this one ends.
    _open: OpenConnection,
}

impl ClientStream {
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, open: OpenConnection) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
        // Known already, so the system is not asked for it.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let mut tcp = TcpConnection::from(tcp);
        tcp.set_socket_digest(digest);
        Ok(Self { tcp: BufWriter::with_capacity(WRITE_BUFFER_BYTES, tcp), http2: false, _open: open })
    }

    /// Looks whether the client begins with HTTP/2. What was read is read again by pingora.
    pub(super) async fn detect_http2(&mut self) -> io::Result<()> {
        let mut seen = Vec::with_capacity(HTTP2_PREFACE.len());
        let tcp = self.tcp.get_mut();
        while seen.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&seen) {
            let mut rest = tcp.take((HTTP2_PREFACE.len() - seen.len()) as u64);
            if rest.read_buf(&mut seen).await? == 0 {
                break;
            }
        }
        self.http2 = seen == HTTP2_PREFACE;
        tcp.rewind(&seen);
        Ok(())
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.tcp.get_mut()).poll_read(context, to)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::flush(&mut self.tcp).await;
        Shutdown::shutdown(self.tcp.get_mut()).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.tcp.get_ref().id()
    }
}

impl Ssl for ClientStream {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.tcp.get_ref().get_timing_digest()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.tcp.get_ref().get_socket_digest()
    }
}

impl Peek for ClientStream {}
