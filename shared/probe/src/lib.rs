//! Asks a server on this machine whether it is ready: what `--probe` of each program does, for the health checks of
//! container images, which hold neither a shell nor `curl`.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// A health check of Docker is given 3 s by our images; this one says what is wrong before that.
const DEADLINE: Duration = Duration::from_secs(2);

/// More of an answer is not read: the first line says it, the rest is for people.
const ANSWER_BYTES: usize = 4096;

/// Why it is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nobody answers there.
    #[error("nothing answers at {address}: {source}")]
    Unreachable {
        /// Where it was asked.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It answers that it is not.
    #[error("{address} answers: {answer}")]
    Refused {
        /// Where it was asked.
        address: SocketAddr,
        /// The beginning of its answer.
        answer: String,
    },
}

/// Whether a server that listens on `bind` answers `GET /readyz` with 200.
///
/// # Errors
/// Why not.
pub fn ready(bind: SocketAddr) -> Result<(), NotReady> {
    let address = reachable(bind);
    let answer = ask(address).map_err(|source| NotReady::Unreachable { address, source })?;
    let mut words = answer.split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(()),
        _ => Err(NotReady::Refused { address, answer: answer.trim_end().replace("\r\n", " | ") }),
    }
}

/// Whether somebody accepts connections there, for a listener that speaks nothing but TLS: who asks from inside of the
/// machine does not know the name that its certificate is for.
///
/// # Errors
/// Why not.
pub fn accepts(bind: SocketAddr) -> Result<(), NotReady> {
    let address = reachable(bind);
    TcpStream::connect_timeout(&address, DEADLINE).map(drop).map_err(|source| NotReady::Unreachable { address, source })
}

/// A listener on all addresses is asked on loopback.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let end = Instant::now() + DEADLINE;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while answer.len() < ANSWER_BYTES {
        // Also one that drips its answer may not hold this up.
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What a server that gives this answer is taken for.
    fn answered(answer: &'static str) -> Result<(), NotReady> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = ready(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        outcome
    }

    #[test]
    fn only_a_200_of_http_is_ready() {
        answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let error =
            answered("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"missing\":{\"database\":\"starting\"}}").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("503") && text.contains("database"), "{text}");
        for other in ["", "SSH-2.0-OpenSSH 200", "HTTP/1.1"] {
            assert!(answered(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn nobody_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        accepts(address).unwrap();
        drop(listener);
        for error in [ready(address).unwrap_err(), accepts(address).unwrap_err()] {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
}
