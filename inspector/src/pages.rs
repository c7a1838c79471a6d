//! The pages: a live list of exchanges, and one exchange whole.
//!
//! In: requests of browsers. Out: HTML made from templates that escape, two static files, and a stream of events. All
//! captured content is hostile: it is text in a page and nothing else, never a link, an attribute that acts, or a document
//! of its own type. Deliberately absent: log-in (which is why the inspector listens on loopback), and search.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::app::App;

mod body;
mod exchange;
pub(crate) mod guard;
mod json_text;
mod list;
mod live;
mod row;
mod text;

/// The pages' routes, all behind the check of the `Host` header.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(list::page))
        .route("/exchanges/{uuid}", get(exchange::page))
        .route("/live", get(live::stream))
        .route(
            "/static/style.css",
            get(|| asset(STYLE, "text/css; charset=utf-8")),
        )
        .route(
            "/static/live.js",
            get(|| asset(SCRIPT, "text/javascript; charset=utf-8")),
        )
        .route("/static/icon.svg", get(|| asset(ICON, "image/svg+xml")))
        .layer(from_fn_with_state(Arc::clone(app), guard::known_host))
}

const STYLE: &str = include_str!("../static/style.css");
const SCRIPT: &str = include_str!("../static/live.js");
const ICON: &str = include_str!("../static/icon.svg");

async fn asset(content: &'static str, media_type: &'static str) -> Response {
    let mut response = content.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A template as an answer.
fn html(status: StatusCode, template: &impl askama::Template) -> Response {
    match template.render() {
        Ok(page) => (status, axum::response::Html(page)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that says what went wrong.
#[derive(askama::Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    title: &'a str,
    text: &'a str,
}

fn problem(status: StatusCode, title: &str, text: &str) -> Response {
    html(status, &Problem { title, text })
}

fn store_failed() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "The store failed",
        "The inspector could not read its store. Its log says why.",
    )
}
