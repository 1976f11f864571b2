//! layered-config
