//! Routes that are what their OpenAPI document says: a service whose document has other routes does not start.

use std::collections::BTreeSet;

use axum::{
    Router,
    handler::Handler,
    http::header,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use serde_json::{Map, Value};

/// Where the document is served.
const PATH: &str = "/openapi.json";

/// What every service answers besides its own routes; see `http`.
const OF_EVERY_SERVICE: [&str; 5] = ["get /livez", "get /readyz", "get /health", "get /metrics", "get /openapi.json"];

/// The routes of a service and those of its document differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or has no paths.
    #[error("the OpenAPI document cannot be read: {0}")]
    Unreadable(String),
    /// These routes are on one side only.
    #[error("the OpenAPI document lacks [{}], and names [{}] that are not there", missing.join(", "), unknown.join(", "))]
    Differs {
        /// Served, and not in the document.
        missing: Vec<String>,
        /// In the document, and not served.
        unknown: Vec<String>,
    },
}

/// A router that remembers its routes.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    known: BTreeSet<String>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), known: BTreeSet::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Adds `GET path`.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("get", path, get(handler))
    }

    /// Adds `POST path`.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("post", path, post(handler))
    }

    /// Adds `PUT path`.
    #[must_use]
    pub fn put<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("put", path, put(handler))
    }

    /// Adds `PATCH path`.
    #[must_use]
    pub fn patch<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("patch", path, patch(handler))
    }

    /// Adds `DELETE path`.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("delete", path, delete(handler))
    }

    /// Adds other routes to these.
    #[must_use]
    pub fn merge(self, mut other: Self) -> Self {
        let mut known = self.known;
        known.append(&mut other.known);
        Self { router: self.router.merge(other.router), known }
    }

    /// Changes the router, such as by a layer around the routes that it has so far.
    #[must_use]
    pub fn layered(self, change: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        Self { router: change(self.router), known: self.known }
    }

    fn with(mut self, method: &str, path: &str, route: MethodRouter<S>) -> Self {
        self.known.insert(format!("{method} {}", as_documented(path)));
        Self { router: self.router.route(path, route), known: self.known }
    }

    /// The router, which also serves the document.
    ///
    /// # Errors
    /// When the document has other routes than these and those of every service.
    pub fn documented_by(mut self, document: &'static str) -> Result<Router<S>, DocumentError> {
        self.known.extend(OF_EVERY_SERVICE.map(str::to_owned));
        let said = operations(document)?;
        if said != self.known {
            let only = |left: &BTreeSet<String>, right| left.difference(right).cloned().collect();
            return Err(DocumentError::Differs {
                missing: only(&self.known, &said),
                unknown: only(&said, &self.known),
            });
        }
        let served = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document) });
        Ok(self.router.route(PATH, served))
    }
}

/// OpenAPI knows no parameter that spans several parts of a path, and so no star. Its documents may have fields of
/// their own whose names start with `x-`; whether a parameter spans is one.
fn as_documented(path: &str) -> String {
    path.replace("{*", "{")
}

/// `method path` of each operation.
fn operations(document: &str) -> Result<BTreeSet<String>, DocumentError> {
    let document: Value =
        serde_json::from_str(document).map_err(|error| DocumentError::Unreadable(error.to_string()))?;
    let none = || DocumentError::Unreadable("it has no paths".to_owned());
    let paths: &Map<String, Value> = document["paths"].as_object().ok_or_else(none)?;
    let of = |(path, item): (&String, &Value)| {
        let methods = item
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| *key != "parameters" && !key.starts_with("x-"));
        methods.map(|method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    Ok(paths.iter().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"paths": {
        "/things/{id}": {"parameters": [], "x-rest-of-path": true, "get": {}, "delete": {}}, "/livez": {"get": {}}, "/readyz": {"get": {}},
        "/health": {"get": {}}, "/metrics": {"get": {}}, "/openapi.json": {"get": {}}
    }}"#;

    #[test]
    fn a_route_is_on_both_sides_or_the_difference_is_named() {
        let routes = || Routes::<()>::default().get("/things/{*id}", || async {});
        let same = routes().delete("/things/{*id}", || async {}).documented_by(DOCUMENT);
        assert!(same.is_ok(), "{same:?}");
        let error = routes().post("/things", || async {}).documented_by(DOCUMENT).expect_err("they are not");
        let expected = DocumentError::Differs {
            missing: vec!["post /things".to_owned()],
            unknown: vec!["delete /things/{id}".to_owned()],
        };
        assert_eq!(error, expected);
        for document in ["", "{}"] {
            assert!(matches!(routes().documented_by(document), Err(DocumentError::Unreadable(_))), "{document}");
        }
    }
}
