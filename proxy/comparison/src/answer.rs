//! One side's answer, as it is compared.

use http::HeaderMap;

/// One side's answer to a request. The body is as it was received: see [`crate::compare`] for what
/// is done about its encoding.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The whole body; an answer whose body is not known to its end cannot be compared.
    pub body: &'a [u8],
}
