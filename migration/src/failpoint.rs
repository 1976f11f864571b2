//! Places where a test may kill the process: at every step that is durable.
//!
//! There only in builds with debug assertions, which tests run and nothing that is shipped has. The
//! variable `STRANGLER_FAILPOINT` names the place, and after a colon how often it is passed before
//! that: `apply.before_commit:3`.

#[cfg(debug_assertions)]
pub(crate) fn hit(place: &'static str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    };
    static ASKED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let asked = std::env::var("STRANGLER_FAILPOINT").ok()?;
        let (place, passes) = asked.split_once(':').unwrap_or((&asked, "0"));
        Some((place.to_owned(), AtomicI64::new(passes.parse().unwrap_or(0))))
    });
    if let Some((asked, passes)) = ASKED.as_ref()
        && asked == place
        && passes.fetch_sub(1, Ordering::SeqCst) == 0
    {
        // As kill -9 does: nothing is flushed, nothing is dropped, nobody is told.
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(crate) const fn hit(_place: &'static str) {}
