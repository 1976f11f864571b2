//! Against a real PostgreSQL, as whatever user runs the tests.

mod postgres;
