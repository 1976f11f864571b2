//! legacy
fn main() {}
