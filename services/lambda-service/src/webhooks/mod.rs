//! Webhooks in: whose request it is, and how often it counts.
//!
//! A webhook with a secret takes nothing that is not signed: a request without a signature is refused with 401, one
//! with a wrong, old or misshapen one with 400, as the contract has it. How it is signed follows from the header that
//! the webhook names ([`Style`]):
//!
//! | header | signature | replayed |
//! |---|---|---|
//! | `Stripe-Signature` | `t=…,v1=…` over `t.body` | counts once; too old after `webhooks.tolerance` |
//! | `webhook-signature`, `svix-signature` | Standard Webhooks: over `id.timestamp.body` | the id counts once; too old after `webhooks.tolerance` |
//! | any other; without a name `X-Hub-Signature-256`, as GitHub signs | hex over the body, with or without `sha256=`, `sha1=`, `v0=` in front | counts again, unless it is in `webhooks.single_use` |
//!
//! "Counts once" is not a memory of this module's: the id of the event is derived from what was signed, and an id is
//! accepted once. A sender who did not hear our answer and asks again is told again that it was received.

mod config;
mod metrics;
mod receipt;
mod signature;

pub use config::WebhooksConfig;
pub(crate) use metrics::received;
pub use receipt::Receipt;
pub(crate) use receipt::{Received, Refused};
pub use signature::Style;
