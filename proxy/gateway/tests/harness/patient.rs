//! A client that keeps its connection as long as the answers let it, and never tries anything twice.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub struct Patient {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// Whether connections are kept at all.
    keeps: bool,
}

impl Patient {
    pub fn new(address: SocketAddr, keeps: bool) -> Self {
        Self { address, connection: None, keeps }
    }

    /// Sends one request and reads its answer. Any error is the gateway's fault.
    pub async fn post(&mut self, path: &str) -> Result<StatusCode, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = Request::post(path).header(header::HOST, "gateway").body(Full::from("{}")).unwrap();
        let answer = connection.send_request(request).await.map_err(|error| format!("sending: {error:?}"))?;
        let (status, close) = (answer.status(), closes(&answer));
        answer.collect().await.map_err(|error| format!("reading: {error:?}"))?;
        if self.keeps && !close {
            self.connection = Some(connection);
        }
        Ok(status)
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| format!("connecting: {error}"))?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn closes<T>(answer: &Response<T>) -> bool {
    answer.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}
