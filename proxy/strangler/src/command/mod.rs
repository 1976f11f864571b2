//! What each word of the command line does.

pub(crate) mod api_key;
pub(crate) mod apply;
pub(crate) mod completions;
pub(crate) mod db;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod limit;
pub(crate) mod man;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod ramp;
pub(crate) mod rollback;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod shadow;
pub(crate) mod slices;
pub(crate) mod status;
pub(crate) mod undo;
pub(crate) mod upgrade;
pub(crate) mod validate;
pub(crate) mod weight;

/// A percentage with as many decimals as it needs.
fn percent(value: f64) -> String {
    format!("{value} %")
}
