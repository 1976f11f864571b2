//! strangler
fn main() {}
