//! The crate against a real PostgreSQL.

mod attack;
mod database;
mod lifecycle;
mod lookups;
mod mini_lambda;
mod music_shop;
mod privileges;
mod unfit;
