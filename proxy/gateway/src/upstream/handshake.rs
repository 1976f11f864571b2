//! Connections for requests that ask for a WebSocket.
//!
//! pingora 0.9.1 ends such a connection with its handshake when it reads the upstream's 101 before it
//! has taken note that the request has no body: it then takes the end of that empty body for the end of
//! what the client sends through the tunnel (its issue 946). The client sees a 101, and then the end.
//! Both wait for pingora at once when a fast upstream answers while the gateway waits for a CPU.
//!
//! pingora queues the end of the body in the turn of its task in which it first looks for an answer. So
//! it is enough that nothing is read in the turn in which something was written. Once pingora tells
//! the two ends apart, all of this can go.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType, OrErr, Result,
    connectors::l4::Connect,
    protocols::l4::{
        ext::set_tcp_keepalive,
        socket::SocketAddr,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Connects to where a WebSocket is asked for. The peer's time limit for all of connecting applies.
#[derive(Debug)]
pub(super) struct HandshakeConnector;

#[async_trait]
impl Connect for HandshakeConnector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(at) = address.as_inet() else {
            return Error::e_explain(ErrorType::InternalError, "addresses of upstreams are IP addresses");
        };
        let tcp = TcpStream::connect(at).await;
        let tcp = tcp.or_err_with(ErrorType::ConnectError, || format!("cannot connect to {at}"))?;
        Ok(VirtualSocketStream::new(Box::new(InTurns::new(tcp))).into())
    }
}

/// A connection where something is read in a later turn of the task than something was written.
#[derive(Debug)]
struct InTurns<C> {
    connection: C,
    written: bool,
}

impl<C> InTurns<C> {
    fn new(connection: C) -> Self {
        Self { connection, written: false }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for InTurns<C> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if mem::take(&mut self.written) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll_read(context, to)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for InTurns<C> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.connection).poll_write(context, bytes));
        self.written = true;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl VirtualSocket for InTurns<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.connection.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => {
                set_tcp_keepalive(&self.connection, &keepalive).map_err(io::Error::other)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_there_already_is_read_in_the_next_turn() {
        let (near, mut far) = duplex(64);
        let mut near = InTurns::new(near);
        far.write_all(b"101").await.unwrap();
        near.write_all(b"GET").await.unwrap();
        let mut read = [0; 3];
        assert!(near.read_exact(&mut read).now_or_never().is_none(), "the same turn");
        near.read_exact(&mut read).now_or_never().expect("the next turn").unwrap();
        assert_eq!(&read, b"101");
    }

    #[tokio::test]
    async fn whoever_waits_for_an_answer_is_woken_for_it() {
        let (near, mut far) = duplex(64);
        let mut near = InTurns::new(near);
        far.write_all(b"101").await.unwrap();
        near.write_all(b"GET").await.unwrap();
        let mut read = [0; 3];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"101");
    }
}
