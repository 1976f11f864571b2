//! What an error of the database says about trying again.

/// SQLSTATE of a row that is there already.
pub const UNIQUE_VIOLATION: &str = "23505";
/// SQLSTATE of a transaction that met another one.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// SQLSTATE of a row whose parent is not there.
pub const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Whether the same statement may work later.
#[must_use]
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08 connection, 25 read-only, 40 serialisation and deadlock, 53 resources, 57 shutdown,
        // 58 system; 3D database and 42P01 relation not there yet, 3F schema not there yet.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "25", "40", "53", "57", "58", "3D", "3F"].iter().any(|class| code.starts_with(class))
                || code == "42P01"
        }),
        _ => false,
    }
}

/// Whether the server refused with this SQLSTATE.
#[must_use]
pub fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}
