//! Properties that must hold for any bytes. Tests run them on random bytes, fuzz targets on bytes that
//! libFuzzer finds; a failure of either is a failure of both.

mod choices;
mod document;
mod keys;
mod matching;
mod paths;
mod reference;

pub use document::rollout_document;
pub use keys::key_extraction;
pub use matching::route_matching;
pub use paths::path_reading;
