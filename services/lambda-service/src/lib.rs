//! lambda-service
