//! Moving weights as a person does, by editing the rollout file, and rolling back.

use std::fs;

use serde_json::{Value, json};
use testkit::eventually;
use toml_edit::{DocumentMut, Item, Table, value};

use super::site::{PATIENCE, System, answer};

/// The routes of `gateway.toml` that have both sides.
pub const MOVING: [&str; 6] =
    ["invoke", "executions", "function", "delete-function", "create-function", "list-functions"];

impl System {
    /// Edits the rollout file for these routes and waits until the gateway has taken it over.
    pub async fn set_percent(&self, routes: &[&str], percent: i64) {
        let file = self.stack.file("rollout.toml");
        let mut document: DocumentMut = fs::read_to_string(&file).expect("there").parse().expect("TOML");
        for route in routes {
            let route = document["routes"].as_table_mut().expect("a table").entry(route);
            route.or_insert_with(|| Item::Table(Table::new()))["percent"] = value(percent);
        }
        // As most editors save.
        let edited = file.with_extension("edited");
        fs::write(&edited, document.to_string()).expect("our own folder");
        fs::rename(edited, file).expect("our own folder");
        eventually(PATIENCE, || async {
            let status = self.status().await;
            routes.iter().all(|route| route_of(&status, route)["percent"].as_f64() == Some(percent as f64))
        })
        .await;
    }

    /// Takes every route back to legacy through the admin API.
    pub async fn roll_back_all(&self) {
        let request = self.client.post(self.url("admin", "/api/v1/rollback")).bearer_auth(self.token());
        let (status, body) = answer(request.json(&json!({"actor": "test", "reason": "drill"}))).await;
        assert_eq!((status, &body["persisted"]), (200, &json!(true)), "{body}");
    }

    /// The admin API's status.
    pub async fn status(&self) -> Value {
        let request = self.client.get(self.url("admin", "/api/v1/status")).bearer_auth(self.token());
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// A route's entry in a status.
pub fn route_of<'a>(status: &'a Value, name: &str) -> &'a Value {
    let routes = status["routes"].as_array().expect("routes");
    routes.iter().find(|route| route["name"] == name).expect("a route of gateway.toml")
}
