//! Who may pass, and what the upstream learns of them.

mod identity_headers;
