//! Every endpoint in both dialects: codes, bodies, texts (Kong 0.13.1 and 3.9, named in `dialect`).

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::dialect::Dialect;
use super::{Answer, Call, Method, World, answer};
use crate::admin::body::Arguments;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::Snapshot;
use crate::plugin::stored::{StoredPlugin, Tokens};

mod current;
mod fields;
mod groups;
mod lists;
mod old;

/// Unix seconds of every call.
const NOW: u64 = 1_526_895_422;
/// What Kong derives for these names.
const ORDERS: &str = "577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

/// A gateway with a service, its route, a route without a service (an API), and a consumer; and the configurations so far.
struct Api {
    dialect: Dialect,
    snapshot: Snapshot,
    plugins: Vec<StoredPlugin>,
    ids: u128,
}

const GATEWAY: &str = "
_format_version: '3.0'
services:
- {name: orders, id: 577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e, routes: [{name: list, id: 11111111-0000-4000-8000-000000000001, paths: [/orders]}]}
- {name: users, id: 577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3f}
routes: [{name: legacy, id: 11111111-0000-4000-8000-000000000002, paths: [/legacy]}]
consumers: [{username: alice, id: 22222222-0000-4000-8000-000000000001}]
";

impl Api {
    fn new(dialect: Dialect) -> Self {
        let file = SourceFile {
            name: Arc::from("kong.yml"),
            bytes: GATEWAY.as_bytes().to_vec(),
        };
        let entities = declarative::read(&[file]).unwrap();
        Self {
            dialect,
            snapshot: Snapshot::build(entities, &RouterProfile::default()).0,
            plugins: Vec::new(),
            ids: 0,
        }
    }

    /// A call with a JSON body, or with a form if it is a string.
    fn call(&mut self, line: &str, body: Value) -> Answer {
        let arguments = match body {
            Value::String(form) => form_arguments(&form),
            Value::Object(fields) => Arguments {
                fields,
                is_form: false,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Arguments::default(),
        };
        self.call_with(line, arguments, Tokens::Hidden)
    }

    fn call_with(&mut self, line: &str, arguments: Arguments, tokens: Tokens) -> Answer {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.ids += 1;
        let call = Call {
            method: match method {
                "GET" => Method::Get,
                "POST" => Method::Post,
                "PUT" => Method::Put,
                "PATCH" => Method::Patch,
                "DELETE" => Method::Delete,
                _ => Method::Other,
            },
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            arguments,
            base: "http://127.0.0.1:8011".to_owned(),
            tokens,
        };
        let world = World {
            dialect: self.dialect,
            snapshot: &self.snapshot,
            plugins: &self.plugins,
            now: NOW,
            new_id: Uuid::from_u128(self.ids),
        };
        let (answer, change) = answer(&call, &world);
        assert!(
            change.is_none() || answer.status < 300,
            "a refused call changes nothing: {line}"
        );
        if let Some(plugins) = change {
            self.plugins = plugins;
        }
        answer
    }

    /// Requires a status and a body.
    #[track_caller]
    fn check(&mut self, line: &str, body: Value, status: u16, expected: Value) {
        let answer = self.call(line, body.clone());
        let expected = Some(expected).filter(|expected| !expected.is_null());
        assert_eq!((answer.status, answer.body), (status, expected), "{line} {body}");
    }

    /// Requires a message.
    #[track_caller]
    fn check_message(&mut self, line: &str, body: Value, status: u16, message: &str) {
        self.check(line, body, status, json!({"message": message}));
    }

    /// Makes one and gives its id.
    #[track_caller]
    fn make(&mut self, line: &str, body: &str) -> String {
        let answer = self.call(line, Value::from(body));
        assert_eq!(answer.status, 201, "{line} {body}: {answer:?}");
        text(&answer, "/id")
    }
}

fn form_arguments(form: &str) -> Arguments {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = bytes::Bytes::copy_from_slice(form.as_bytes());
    let read = crate::admin::body::read(Some("application/x-www-form-urlencoded"), body);
    runtime.block_on(read).unwrap()
}

fn text(answer: &Answer, pointer: &str) -> String {
    let value = answer.body.as_ref().unwrap().pointer(pointer);
    value.and_then(Value::as_str).unwrap().to_owned()
}

/// What every form has to have.
const FULL: &str = "name=runscope&config.access_token=T&config.bucket_key=B";

#[test]
fn tokens_are_shown_to_who_may_see_them_only() {
    for dialect in [Dialect::Old, Dialect::Current] {
        let mut api = Api::new(dialect);
        let id = api.make("POST /plugins", FULL);
        let line = format!("GET /plugins/{id}");
        let hidden = api.call(&line, Value::Null);
        assert_eq!(text(&hidden, "/config/access_token"), "[redacted]");
        let shown = api.call_with(&line, Arguments::default(), Tokens::Shown);
        assert_eq!(text(&shown, "/config/access_token"), "T");
        let listed = api.call("GET /plugins", Value::Null);
        assert_eq!(text(&listed, "/data/0/config/access_token"), "[redacted]");
    }
}

#[test]
fn what_was_read_can_be_written_back_and_keeps_its_token() {
    for dialect in [Dialect::Old, Dialect::Current] {
        let mut api = Api::new(dialect);
        let id = api.make("POST /plugins", FULL);
        let line = format!("/plugins/{id}");
        let read = api.call(&format!("GET {line}"), Value::Null).body.unwrap();
        let put = match dialect {
            Dialect::Old => "PUT /plugins".to_owned(),
            Dialect::Current => format!("PUT {line}"),
        };
        api.check(&put, read.clone(), 200, read.clone());
        let patch = json!({"config": {"access_token": "[redacted]", "log_body": true}});
        assert_eq!(api.call(&format!("PATCH {line}"), patch).status, 200);
        let settings = &api.plugins[0].settings;
        assert_eq!(settings.destination.access_token.expose(), "T");
        assert!(settings.log_body);
        // As the token of a new one it is none.
        let body = json!({"name": "runscope", "config": {"access_token": "[redacted]", "bucket_key": "B"}});
        assert_eq!(api.call("POST /plugins", body).status, 400);
    }
}

#[test]
fn references_cannot_be_checked_before_the_gateway_is_known() {
    for dialect in [Dialect::Old, Dialect::Current] {
        let mut api = Api::new(dialect);
        api.snapshot = Snapshot::empty();
        for line in ["POST /services/orders/plugins", "GET /consumers/alice/plugins"] {
            assert_eq!(api.call(line, Value::from(FULL)).status, 503, "{line}");
        }
        api.make("POST /plugins", FULL);
    }
}

#[test]
fn what_a_configuration_named_may_be_gone_when_it_is_changed() {
    for dialect in [Dialect::Old, Dialect::Current] {
        let mut api = Api::new(dialect);
        let id = api.make("POST /services/orders/plugins", FULL);
        let empty = declarative::read(&[SourceFile {
            name: Arc::from("kong.yml"),
            bytes: b"_format_version: '3.0'".to_vec(),
        }]);
        api.snapshot = Snapshot::build(empty.unwrap(), &RouterProfile::default()).0;
        assert_eq!(api.call(&format!("GET /plugins/{id}"), Value::Null).status, 200);
        let patch = json!({"enabled": false});
        assert_eq!(api.call(&format!("PATCH /plugins/{id}"), patch).status, 200);
        assert_eq!(
            api.call(&format!("DELETE /plugins/{id}"), Value::Null).status,
            204
        );
        assert!(api.plugins.is_empty());
    }
}
