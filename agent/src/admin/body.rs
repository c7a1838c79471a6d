//! The body of a call as Kong's Admin API takes it: JSON, or a form with nested keys, url-encoded or multipart.
//!
//! In: a content type and bytes that are already bounded. Out: [`Arguments`]: a tree, and whether its leaves are text that stands
//! for something else. Deliberately absent: which fields there are, and files (a multipart part's text is taken, its name is not).

use bytes::Bytes;
use serde_json::{Map, Value};

/// The most fields of a form.
const MAX_FIELDS: usize = 256;
/// The deepest nesting of a form's keys.
const MAX_DEPTH: usize = 8;

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    /// The fields.
    pub fields: Map<String, Value>,
    /// Whether every leaf is text, because it was a form.
    pub is_form: bool,
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// It says that it is JSON and is none.
    NotJson,
    /// A form that cannot be read, or has too many or too deep fields.
    BadForm,
    /// Neither JSON nor a form.
    Unsupported,
}

/// Reads a body. One without a content type is taken when it is empty.
///
/// # Errors
/// [`BadBody`].
pub async fn read(content_type: Option<&str>, body: Bytes) -> Result<Arguments, BadBody> {
    let Some(content_type) = content_type else {
        let nothing = body.is_empty().then(Arguments::default);
        return nothing.ok_or(BadBody::Unsupported);
    };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return json(&body);
    }
    if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let pairs = url::form_urlencoded::parse(&body).into_owned();
        return form(pairs);
    }
    if media_type.eq_ignore_ascii_case("multipart/form-data") {
        return form(parts(content_type, body).await?.into_iter());
    }
    Err(BadBody::Unsupported)
}

fn json(body: &[u8]) -> Result<Arguments, BadBody> {
    if body.is_empty() {
        return Ok(Arguments::default());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(Arguments {
            fields,
            is_form: false,
        }),
        Ok(_) | Err(_) => Err(BadBody::NotJson),
    }
}

async fn parts(content_type: &str, body: Bytes) -> Result<Vec<(String, String)>, BadBody> {
    let bad = |_error| BadBody::BadForm;
    let boundary = multer::parse_boundary(content_type).map_err(bad)?;
    let mut multipart = multer::Multipart::with_reader(std::io::Cursor::new(body), boundary);
    let mut pairs = Vec::new();
    while let Some(part) = multipart.next_field().await.map_err(bad)? {
        let name = part.name().unwrap_or_default().to_owned();
        pairs.push((name, part.text().await.map_err(bad)?));
        if pairs.len() > MAX_FIELDS {
            return Err(BadBody::BadForm);
        }
    }
    Ok(pairs)
}

/// `config.a=1`, `config[a]=1`, `tags[]=x`, `tags[1]=x` and a key that comes again, as trees and lists
/// [Kong 3.9 kong/api/arguments_decoder.lua; 0.13.1 kong/api/api_helpers.lua].
fn form(pairs: impl Iterator<Item = (String, String)>) -> Result<Arguments, BadBody> {
    let mut fields = Map::new();
    for (count, (key, value)) in pairs.enumerate() {
        let path = path_of(&key);
        if count >= MAX_FIELDS || path.len() > MAX_DEPTH {
            return Err(BadBody::BadForm);
        }
        put(&mut fields, &path, value);
    }
    Ok(Arguments {
        fields,
        is_form: true,
    })
}

/// The steps of a key. A number or nothing in brackets is a place in a list.
fn path_of(key: &str) -> Vec<&str> {
    let steps = key.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    steps.collect()
}

fn put(fields: &mut Map<String, Value>, path: &[&str], value: String) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let is_index = |step: &str| step.bytes().all(|byte| byte.is_ascii_digit());
    match rest {
        [] => match fields.get_mut(*first) {
            Some(Value::Array(items)) => items.push(Value::from(value)),
            Some(other) => *other = Value::from(vec![other.take(), Value::from(value)]),
            None => {
                fields.insert((*first).to_owned(), Value::from(value));
            }
        },
        // Kong's clients number lists from 1, in order.
        [index] if is_index(index) => {
            let list = fields.entry(*first).or_insert_with(|| Value::Array(Vec::new()));
            match list {
                Value::Array(items) => items.push(Value::from(value)),
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_)) => *other = Value::from(vec![other.take(), Value::from(value)]),
            }
        }
        rest => {
            let inner = fields.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::{BadBody, read};

    const FORM: &str = "application/x-www-form-urlencoded";

    async fn check(content_type: Option<&str>, body: &str, expected: Result<serde_json::Value, BadBody>) {
        let found = read(content_type, Bytes::copy_from_slice(body.as_bytes())).await;
        let found = found.map(|arguments| serde_json::Value::Object(arguments.fields));
        assert_eq!(found, expected, "{content_type:?} {body}");
    }

    #[tokio::test]
    async fn forms_nest_by_dots_and_by_brackets() {
        for (body, expected) in [
            ("", json!({})),
            ("name=runscope", json!({"name": "runscope"})),
            (
                "config.a=1&config.b=x+y%2Bz",
                json!({"config": {"a": "1", "b": "x y+z"}}),
            ),
            ("config[a]=1&config[b]=2", json!({"config": {"a": "1", "b": "2"}})),
            (
                "service.id=7&service[name]=s",
                json!({"service": {"id": "7", "name": "s"}}),
            ),
            ("tags=a&tags=b", json!({"tags": ["a", "b"]})),
            ("tags[]=a&tags[]=b", json!({"tags": ["a", "b"]})),
            ("tags[1]=a&tags[2]=b&tags=c", json!({"tags": ["a", "b", "c"]})),
            ("a=1&a.b=2", json!({"a": {"b": "2"}})),
            ("flag", json!({"flag": ""})),
        ] {
            check(Some(FORM), body, Ok(expected)).await;
        }
    }

    #[tokio::test]
    async fn json_is_an_object_or_nothing() {
        let json_type = Some("application/json; charset=utf-8");
        check(json_type, "{\"a\": {\"b\": [1]}}", Ok(json!({"a": {"b": [1]}}))).await;
        check(json_type, "", Ok(json!({}))).await;
        for body in ["[1]", "{", "null", "name=runscope"] {
            check(json_type, body, Err(BadBody::NotJson)).await;
        }
    }

    #[tokio::test]
    async fn multipart_is_a_form_too() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"config.a\"\r\n\r\n1 & 2\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nrunscope\r\n--b--\r\n";
        let content_type = Some("multipart/form-data; boundary=b");
        check(
            content_type,
            body,
            Ok(json!({"config": {"a": "1 & 2"}, "name": "runscope"})),
        )
        .await;
        check(content_type, "--b\r\nno end", Err(BadBody::BadForm)).await;
        check(Some("multipart/form-data"), body, Err(BadBody::BadForm)).await;
    }

    #[tokio::test]
    async fn anything_else_is_not_supported() {
        check(Some("text/plain"), "name=runscope", Err(BadBody::Unsupported)).await;
        check(None, "name=runscope", Err(BadBody::Unsupported)).await;
        check(None, "", Ok(json!({}))).await;
    }

    #[tokio::test]
    async fn forms_are_bounded() {
        check(Some(FORM), &"a=1&".repeat(257), Err(BadBody::BadForm)).await;
        check(Some(FORM), "a.b.c.d.e.f.g.h.i=1", Err(BadBody::BadForm)).await;
    }
}
