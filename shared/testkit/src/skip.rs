/// What a test stands on; where that cannot be had, why is said aloud, and the test returns.
///
/// A run's skipped tests are counted by these words, so that a run that proves less than it could is seen to.
pub fn or_skip<T>(found: Result<T, String>) -> Option<T> {
    found.inspect_err(|why| eprintln!("skipped: {why}")).ok()
}
