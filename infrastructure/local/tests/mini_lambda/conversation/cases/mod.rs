//! The table of cases, by what they are about.

mod dead_letters;
mod functions;
mod invocations;
mod new_routes;
mod service;
mod triggers;
mod webhooks;

use super::step::Case;

pub fn all() -> Vec<Case> {
    [
        service::cases(),
        // First of those that can leave dead letters, since it begins with none.
        dead_letters::cases(),
        functions::cases(),
        invocations::cases(),
        new_routes::cases(),
        triggers::cases(),
        webhooks::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
