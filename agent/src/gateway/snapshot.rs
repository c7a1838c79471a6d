//! stub: types that other modules build on

use std::sync::Arc;

use crate::gateway::entities::{Consumer, Route, Service};

/// What the gateway's configuration says of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The Route.
    pub route: RouteMatch,
    /// The Route's Service.
    pub service: Option<Arc<Service>>,
    /// The Consumer.
    pub consumer: ConsumerMatch,
    /// Where the auth plugins in force on this route read credentials from: what redaction hides by default.
    pub credentials: Arc<[CredentialPlace]>,
}

/// Which Route an exchange took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// This one.
    Matched(Arc<Route>),
    /// None: the gateway had no route for it.
    NoRoute,
    /// It cannot be said, and why.
    Unknown(UnknownRoute),
}

/// Why a Route cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownRoute {
    /// No configuration of the gateway has been read yet.
    NoConfiguration,
    /// The request's head was not seen.
    NoRequest,
    /// A route that may match uses something that is not evaluated here (SNI, addresses, expressions, look-around).
    Unsupported,
    /// Two routes match alike and what breaks the tie in the gateway is not known.
    Ambiguous,
    /// The answer contradicts the match (the gateway says that no route matched, or the reverse).
    Contradicted,
}

/// Who a request was authenticated as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerMatch {
    /// This Consumer of the configuration.
    Known(Arc<Consumer>),
    /// Nobody: no auth plugin, or it let nobody through.
    Nobody,
    /// It cannot be said (auth is in force, and the upstream leg was not seen or names somebody not in the configuration).
    Unknown,
}

/// A place that carries a credential which Kong itself consumes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialPlace {
    /// A request header of this name (lower case).
    Header(String),
    /// A query parameter of this name.
    Query(String),
    /// A field of this name in a form or JSON body.
    BodyField(String),
    /// A cookie of this name.
    Cookie(String),
}
