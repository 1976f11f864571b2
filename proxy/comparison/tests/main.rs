//! The crate's integration tests, one binary.

mod cost;
mod defects;
mod documents;
mod noise;
mod properties;
mod rules;
mod support;
