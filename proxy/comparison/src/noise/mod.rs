//! What legacy itself answers differently from one time to the next.

mod fields;
mod learner;
mod masks;

pub(crate) use fields::Fields;
pub use learner::{NoiseLearner, NoiseSettings};
pub(crate) use masks::Hidden;
pub use masks::{Mask, Masks};
