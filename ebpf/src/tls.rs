//! Plaintext of OpenSSL connections: what `SSL_read` returned and `SSL_write` accepted, and which connection that is.

pub mod binding;
pub mod call;
mod point;
