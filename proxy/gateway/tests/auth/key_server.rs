//! A place where an issuer publishes its keys, and which fails on demand.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body, extract::State, http::StatusCode, response::Response, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::signer::Signer;

/// What it does with a request.
#[derive(Clone)]
pub enum Publishes {
    Keys(Value),
    /// This status and this text.
    Text(u16, String),
    /// A redirect to where the keys are.
    Elsewhere,
    /// Nothing, ever.
    Silence,
}

struct Shared {
    publishes: Mutex<Publishes>,
    fetches: AtomicUsize,
}

pub struct KeyServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    pub async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { publishes: Mutex::new(set(signers)), fetches: AtomicUsize::default() });
        let router =
            Router::new().route("/keys", get(answer)).route("/elsewhere", get(keys)).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, serving }
    }

    pub fn publish(&self, signers: &[&Signer]) {
        self.does(set(signers));
    }

    pub fn does(&self, publishes: Publishes) {
        *self.shared.publishes.lock().unwrap() = publishes;
    }

    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::Acquire)
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn set(signers: &[&Signer]) -> Publishes {
    Publishes::Keys(json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }))
}

async fn answer(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::AcqRel);
    let publishes = shared.publishes.lock().unwrap().clone();
    match publishes {
        Publishes::Keys(keys) => respond(200, keys.to_string()),
        Publishes::Text(status, text) => respond(status, text),
        Publishes::Elsewhere => {
            Response::builder().status(StatusCode::FOUND).header("location", "/elsewhere").body(Body::empty()).unwrap()
        }
        Publishes::Silence => std::future::pending().await,
    }
}

/// Where the redirect leads: good keys that nobody may take.
async fn keys(State(_): State<Arc<Shared>>) -> Response {
    respond(200, json!({ "keys": [Signer::es256("elsewhere").jwk()] }).to_string())
}

fn respond(status: u16, text: String) -> Response {
    Response::builder().status(status).body(Body::from(text)).unwrap()
}
