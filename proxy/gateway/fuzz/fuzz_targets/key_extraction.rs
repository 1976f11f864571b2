#![no_main]

#[allow(dead_code, unused_imports, reason = "each target runs one of the properties")]
#[path = "../../tests/properties/mod.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::key_extraction(bytes));
