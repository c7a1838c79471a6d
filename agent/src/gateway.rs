//! Kong's entities, where they come from, and what they say of an exchange.
//!
//! In: a `kong.yml` or an Admin API (the sources, which do IO) and [`crate::correlate::JoinedExchange`]s. Out: an
//! immutable [`snapshot::Snapshot`] and, for each exchange, a [`snapshot::Resolution`]: Service, Route, Consumer, or an
//! honest "unknown". Deliberately absent: the `runscope` configurations (that is `plugin`).

pub mod admin_api;
pub mod collections;
pub mod consumer;
pub mod credentials;
pub mod declarative;
pub mod document;
pub mod entities;
pub mod fields;
pub mod forms;
pub mod groups;
pub mod ids;
pub mod konnect;
pub mod ports;
pub mod retained;
pub mod router;
pub mod snapshot;
pub mod source;
pub mod workspace;
