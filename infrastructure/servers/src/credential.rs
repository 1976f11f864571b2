/// A new random credential: 32 hexadecimal digits from the thread's cryptographic generator.
#[must_use]
pub fn generate() -> String {
    format!("{:032x}", rand::random::<u128>())
}
