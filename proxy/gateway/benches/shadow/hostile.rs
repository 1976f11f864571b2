//! Servers at their worst, each in a process of its own that gives way to everything else.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{
    process::{Cores, Process},
    upstreams::answer,
};

/// What a server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers what legacy does after 2 seconds, which is just within the time limit of a copy or just beyond it.
    Slow,
    /// Sends its answer a byte every 20 ms.
    Trickling,
    /// Answers 100 MB without saying so before.
    Endless,
    /// Breaks the connection.
    Resetting,
}

const ENDLESS_BYTES: usize = 100_000_000;

impl Kind {
    pub const ALL: [Self; 4] = [Self::Slow, Self::Trickling, Self::Endless, Self::Resetting];

    fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Trickling => "trickling",
            Self::Endless => "endless",
            Self::Resetting => "resetting",
        }
    }

    /// Ends when the client does.
    fn answer(self, mut client: TcpStream) -> std::io::Result<()> {
        if self == Self::Resetting {
            // Closing a connection that has unread bytes resets it: RFC 1122, 4.2.2.13.
            client.peek(&mut [0])?;
            return Ok(());
        }
        let mut request = [0; 4_096];
        while client.read(&mut request)? > 0 {
            match self {
                Self::Slow => {
                    thread::sleep(Duration::from_secs(2));
                    let body = answer(false);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    client.write_all((head + &body).as_bytes())?;
                }
                Self::Trickling => {
                    client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                    for _ in 0..100_000 {
                        client.write_all(b"x")?;
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                Self::Endless | Self::Resetting => {
                    client.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                    let chunk = [b'x'; 64 * 1_024];
                    for _ in 0..ENDLESS_BYTES / chunk.len() {
                        client.write_all(&chunk)?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Starts such a server.
pub fn start(kind: Kind, address: SocketAddr, folder: &Path) -> anyhow::Result<Process> {
    let mut command = Cores::RestWhenIdle.command(std::env::current_exe()?);
    command.args(["hostile", kind.name(), &address.to_string()]);
    Process::start(command, &folder.join(kind.name()), address)
}

/// What the process of such a server does.
pub fn serve(arguments: &[&str]) -> anyhow::Result<()> {
    let [kind, address] = arguments else { bail!("hostile KIND ADDRESS") };
    let kind = Kind::ALL.into_iter().find(|known| known.name() == *kind).context("no such kind")?;
    let listener = TcpListener::bind(address)?;
    for client in listener.incoming() {
        let client = client?;
        // That the client goes away is how most of them end.
        thread::spawn(move || kind.answer(client));
    }
    Ok(())
}
