//! stub
pub mod clock;
pub mod message;
pub mod store;
pub mod token;
