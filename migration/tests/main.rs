//! The crate against a real PostgreSQL.

mod attack;
mod copies;
mod database;
mod drafts;
mod flows;
mod gateway;
mod kills;
mod lifecycle;
mod lookups;
mod mini_lambda;
mod music_shop;
mod privileges;
mod retirement;
mod roles;
mod slices;
mod spelled;
mod splits;
mod streams;
mod throttling;
mod unfit;
mod unfit_rows;
mod validation;
mod verification;
mod versions;
