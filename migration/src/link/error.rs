use std::io;

/// Why a replication connection could not be made, or ended. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The network or the server's process.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Nothing came for longer than it may be silent.
    #[error("the server has said nothing for {seconds} s")]
    Silent {
        /// How long that was.
        seconds: u64,
    },
    /// TLS could not be set up.
    #[error("cannot secure the connection: {0}")]
    Tls(String),
    /// The server asks for a proof of identity that there is none for.
    #[error("cannot authenticate: {0}")]
    Authentication(&'static str),
    /// The server refused.
    #[error("{message} (SQLSTATE {code}){}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Server {
        /// The SQLSTATE.
        code: String,
        /// What it said.
        message: String,
        /// What it advised.
        hint: Option<String>,
    },
    /// Bytes that make no sense at their place.
    #[error("the server sent what the protocol does not have here: {0}")]
    Protocol(String),
}

impl LinkError {
    /// The SQLSTATE of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            _ => None,
        }
    }
}
