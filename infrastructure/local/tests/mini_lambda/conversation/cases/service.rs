//! What every service answers about itself.

use super::super::{
    reply::Reply,
    step::{Case, get},
};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("health").then(get("/health").answers(Reply::json(200, json!({"status": "healthy"})))),
        Case::new("metrics").then(get("/metrics").answers(Reply::metrics())),
    ]
}
