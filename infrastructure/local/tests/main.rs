//! Whole stacks of stand-in processes, with a real PostgreSQL and S3.

mod book;
mod bookshop;
mod images;
mod lifecycle;
mod mini_lambda;
mod refusals;
mod stand_in;
mod supervisor_death;
