//! `/`: the exchanges, newest first.
//!
//! Filters are links, so that the page needs no script and no form (the policy forbids forms); the script adds a text field
//! and the live stream.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use url::form_urlencoded::Serializer;

use super::row::Row;
use super::text::{line, size};
use super::{html, problem, store_failed};
use crate::app::App;
use crate::store::filter::{Order, Parameters};
use crate::store::{Bound, Filter, Query};

/// Rows on a page.
const ROWS: u32 = 100;
/// Buckets offered as filters.
const BUCKETS: u32 = 50;
/// The longest bucket name shown.
const BUCKET_BYTES: usize = 64;

#[derive(Template)]
#[template(path = "list.html")]
struct Page {
    rows: Vec<Row>,
    buckets: Vec<Choice>,
    statuses: Vec<Choice>,
    methods: Vec<Choice>,
    text: String,
    /// What the script adds `text=` to.
    without_text: String,
    /// Where the live stream is; empty on an older page, which does not move.
    live: String,
    newest: String,
    older: String,
    is_filtered: bool,
    show_bucket: bool,
    messages: u64,
    bytes: String,
    bounds: String,
}

/// A filter to choose.
struct Choice {
    label: String,
    href: String,
    chosen: bool,
}

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let parameters = match Parameters::parse(query.as_deref().unwrap_or_default()) {
        Ok(parameters) => parameters,
        Err(bad) => {
            return problem(
                StatusCode::BAD_REQUEST,
                "This address cannot be read",
                &bad.to_string(),
            );
        }
    };
    let filter = parameters.filter;
    let query = Query {
        filter: filter.clone(),
        since: None,
        before: parameters.before,
        order: Order::Time,
        most: ROWS,
    };
    let answer = app
        .query(move |store| {
            // The newest first: what arrives in between is then in the list, in the stream, or (harmlessly) in both.
            let newest = store.newest()?;
            Ok((
                newest,
                store.list(&query)?,
                store.buckets(BUCKETS)?,
                store.totals(),
            ))
        })
        .await;
    let Ok((newest, entries, buckets, totals)) = answer else {
        return store_failed();
    };
    let is_full = u32::try_from(entries.len()).is_ok_and(|rows| rows == ROWS);
    let older = entries
        .last()
        .filter(|_| is_full)
        .map(|last| href(&filter, Some(Bound::Message(last.uuid))))
        .unwrap_or_default();
    let live = match parameters.before {
        Some(_) => String::new(),
        None => format!("/live?{}after={}", and(&pairs(&filter)), newest.0),
    };
    let without_text = Filter {
        text: None,
        ..filter.clone()
    };
    let page = Page {
        rows: entries.iter().map(Row::of).collect(),
        buckets: bucket_choices(&filter, buckets),
        statuses: status_choices(&filter),
        methods: method_choices(&filter),
        text: filter
            .text
            .as_deref()
            .map(|text| line(text, crate::store::filter::TEXT_BYTES))
            .unwrap_or_default(),
        without_text: href(&without_text, None),
        live,
        newest: href(&filter, None),
        older,
        is_filtered: filter != Filter::default(),
        show_bucket: filter.bucket.is_none(),
        messages: totals.messages,
        bytes: size(totals.bytes),
        bounds: bounds(&app),
    };
    html(StatusCode::OK, &page)
}

fn bounds(app: &App) -> String {
    let retention = app.retention;
    let place = if app.durable { "on disk" } else { "in memory" };
    let age = retention
        .age
        .map(|age| format!(", {} hours", age.as_secs().div_ceil(3_600)))
        .unwrap_or_default();
    format!(
        "{} messages, {}{age}, {place}",
        retention.messages,
        size(retention.bytes)
    )
}

fn bucket_choices(filter: &Filter, buckets: Vec<String>) -> Vec<Choice> {
    let with = |bucket: Option<String>| Filter {
        bucket,
        ..filter.clone()
    };
    let mut choices = vec![choice("all", filter, &with(None))];
    for bucket in buckets {
        let label = line(&bucket, BUCKET_BYTES);
        choices.push(choice(&label, filter, &with(Some(bucket))));
    }
    choices
}

fn status_choices(filter: &Filter) -> Vec<Choice> {
    let with = |status: Option<&str>| Filter {
        status: status.and_then(crate::store::StatusFilter::parse),
        ..filter.clone()
    };
    let mut choices = vec![choice("all", filter, &with(None))];
    for class in ["2xx", "3xx", "4xx", "5xx"] {
        choices.push(choice(class, filter, &with(Some(class))));
    }
    choices
}

fn method_choices(filter: &Filter) -> Vec<Choice> {
    let with = |method: Option<&str>| Filter {
        method: method.map(str::to_owned),
        ..filter.clone()
    };
    let mut choices = vec![choice("all", filter, &with(None))];
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        choices.push(choice(method, filter, &with(Some(method))));
    }
    choices
}

fn choice(label: &str, current: &Filter, wanted: &Filter) -> Choice {
    Choice {
        label: label.to_owned(),
        href: href(wanted, None),
        chosen: current == wanted,
    }
}

/// The list's address with this filter: always a path of ours with an encoded query, whatever the filter holds.
fn href(filter: &Filter, before: Option<Bound>) -> String {
    let mut query = pairs(filter);
    if let Some(Bound::Message(uuid)) = before {
        query = format!("{}before={uuid}", and(&query));
    }
    if query.is_empty() {
        "/".to_owned()
    } else {
        format!("/?{query}")
    }
}

fn and(query: &str) -> String {
    if query.is_empty() {
        String::new()
    } else {
        format!("{query}&")
    }
}

fn pairs(filter: &Filter) -> String {
    let mut pairs = Serializer::new(String::new());
    if let Some(bucket) = &filter.bucket {
        pairs.append_pair("bucket", bucket);
    }
    if let Some(status) = filter.status {
        let text = if status.from == status.to {
            status.from.to_string()
        } else {
            format!("{}xx", status.from / 100)
        };
        pairs.append_pair("status", &text);
    }
    if let Some(method) = &filter.method {
        pairs.append_pair("method", method);
    }
    if let Some(text) = &filter.text {
        pairs.append_pair("text", text);
    }
    pairs.finish()
}

#[cfg(test)]
mod tests {
    use super::{href, pairs};
    use crate::store::Filter;
    use crate::store::filter::Parameters;

    #[test]
    fn a_filter_survives_its_address() {
        for query in [
            "",
            "bucket=a%26b%3D%22%3C",
            "status=404",
            "status=5xx&method=PUT&text=%E2%82%AC+x",
        ] {
            let filter = Parameters::parse(query).unwrap().filter;
            assert_eq!(
                Parameters::parse(&pairs(&filter)).unwrap().filter,
                filter,
                "{query}"
            );
        }
        assert_eq!(href(&Filter::default(), None), "/");
        let hostile = Filter {
            bucket: Some("javascript:\"><script>".into()),
            ..Filter::default()
        };
        assert_eq!(href(&hostile, None), "/?bucket=javascript%3A%22%3E%3Cscript%3E");
    }
}
