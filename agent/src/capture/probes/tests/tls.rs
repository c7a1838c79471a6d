//! OpenSSL calls.
