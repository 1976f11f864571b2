//! lambda-service
fn main() {}
