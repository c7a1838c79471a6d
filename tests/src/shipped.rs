//! A message as a receiver has it: the plugin's JSON, read into what can be compared.
//!
//! In: a message's JSON, as posted or as the inspector's detail gives it. Out: [`Shipped`].

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::ID_FIELD;

/// Fields of a message: lower-case names, every value of each.
pub type Fields = BTreeMap<String, Vec<String>>;

/// What the comparison needs of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipped {
    /// The id that the lab's client gave to the request; `None` for somebody else's.
    pub id: Option<String>,
    /// Method.
    pub method: String,
    /// URL.
    pub url: String,
    /// Request fields.
    pub request_fields: Fields,
    /// Request body; `None` when the key is absent.
    pub request_body: Option<Vec<u8>>,
    /// Unix seconds.
    pub request_timestamp: f64,
    /// Status; `None` without a response.
    pub status: Option<u16>,
    /// Response fields.
    pub response_fields: Fields,
    /// Response body; `None` when the key is absent.
    pub response_body: Option<Vec<u8>>,
    /// Bytes of the response body as nginx counts them.
    pub size_bytes: Option<u64>,
    /// Seconds.
    pub response_time: Option<f64>,
    /// Kong's request id.
    pub request_id: Option<String>,
    /// Names from the extended profile.
    pub scope: Scope,
    /// Whether it says that the exchange went upstream, and that this was not seen.
    pub lacks_upstream_leg: bool,
}

/// What a message says about where in the gateway's configuration its exchange belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Service name.
    pub service: Option<String>,
    /// Route name.
    pub route: Option<String>,
    /// Consumer: username, else custom id.
    pub consumer: Option<String>,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "{}/{}/{}",
            name(&self.service),
            name(&self.route),
            name(&self.consumer)
        )
    }
}

impl Shipped {
    /// Reads a message.
    ///
    /// # Errors
    /// When a field is missing or of another type than the plugin's.
    pub fn read(message: &Value) -> anyhow::Result<Self> {
        let request = message.get("request").context("no `request`")?;
        let response = message.get("response");
        let request_fields = fields(request).context("request.headers")?;
        let kong = message.get("kong");
        let name = |entity: &str, keys: &[&str]| {
            let entity = kong?.get(entity)?;
            keys.iter()
                .find_map(|key| entity.get(key)?.as_str())
                .map(str::to_owned)
        };
        Ok(Self {
            id: request_fields
                .get(&ID_FIELD.to_ascii_lowercase())
                .and_then(|values| values.first())
                .cloned(),
            method: text(request, "method")?,
            url: text(request, "url")?,
            request_body: body(request).context("request.body")?,
            request_timestamp: number(request, "timestamp")?.context("no `request.timestamp`")?,
            request_fields,
            status: response
                .and_then(|response| response.get("status"))
                .map(|status| {
                    status
                        .as_u64()
                        .and_then(|status| u16::try_from(status).ok())
                        .context("response.status is no number")
                })
                .transpose()?,
            response_fields: response
                .map(fields)
                .transpose()
                .context("response.headers")?
                .unwrap_or_default(),
            response_body: response.map(body).transpose().context("response.body")?.flatten(),
            size_bytes: response
                .and_then(|response| response.get("size_bytes"))
                .map(size)
                .transpose()?,
            response_time: response
                .map(|response| number(response, "response_time"))
                .transpose()?
                .flatten(),
            request_id: kong
                .and_then(|kong| kong.get("request_id"))
                .and_then(Value::as_str)
                .map(str::to_owned),
            scope: Scope {
                service: name("service", &["name", "id"]),
                route: name("route", &["name", "id"]),
                consumer: name("consumer", &["username", "custom_id", "id"]),
            },
            lacks_upstream_leg: kong
                .and_then(|kong| kong.pointer("/completeness/upstream"))
                .is_some_and(|upstream| upstream == "not_seen"),
        })
    }
}

fn text(part: &Value, key: &str) -> anyhow::Result<String> {
    let value = part.get(key).with_context(|| format!("no `{key}`"))?;
    Ok(value
        .as_str()
        .with_context(|| format!("`{key}` is no string: {value}"))?
        .to_owned())
}

fn number(part: &Value, key: &str) -> anyhow::Result<Option<f64>> {
    part.get(key)
        .map(|value| {
            value
                .as_f64()
                .with_context(|| format!("`{key}` is no number: {value}"))
        })
        .transpose()
}

/// A string of digits, which is what the plugin sent.
fn size(value: &Value) -> anyhow::Result<u64> {
    let text = value
        .as_str()
        .with_context(|| format!("response.size_bytes is no string: {value}"))?;
    text.parse()
        .with_context(|| format!("response.size_bytes {text:?}"))
}

fn fields(part: &Value) -> anyhow::Result<Fields> {
    let object = part
        .get("headers")
        .and_then(Value::as_object)
        .context("no object")?;
    object
        .iter()
        .map(|(name, value)| {
            ensure!(name.to_ascii_lowercase() == *name, "{name} is not lower case");
            let values = match value {
                Value::String(value) => vec![value.clone()],
                Value::Array(values) => values
                    .iter()
                    .map(|value| Ok(value.as_str().context("a value is no string")?.to_owned()))
                    .collect::<anyhow::Result<_>>()?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    bail!("{name} is neither string nor array: {value}")
                }
            };
            Ok((name.clone(), values))
        })
        .collect()
}

fn body(part: &Value) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(value) = part.get("body").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = value.as_str().with_context(|| format!("no string: {value}"))?;
    match part.get("body_encoding").and_then(Value::as_str) {
        Some("base64") => Ok(Some(STANDARD.decode(text).context("base64")?)),
        None | Some("plaintext") => Ok(Some(text.as_bytes().to_vec())),
        Some(other) => bail!("body_encoding {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Shipped;

    fn message() -> Value {
        json!({
            "request": {
                "url": "http://127.0.0.1:8000/plain/json", "method": "GET", "timestamp": 1526895422.123, "form": {},
                "headers": {"host": "127.0.0.1:8000", "x-lab-id": "7", "accept": ["a", "b"]},
            },
            "response": {
                "status": 200, "headers": {}, "body": "/w==", "body_encoding": "base64", "size_bytes": "1",
                "timestamp": 1526895422.131, "response_time": 0.008,
            },
            "kong": {"request_id": "r", "service": {"id": "1", "name": "s"}, "route": {"id": "2"}, "consumer": {"custom_id": "c"}},
        })
    }

    #[test]
    fn a_message_is_read() {
        let shipped = Shipped::read(&message()).unwrap();
        assert_eq!(shipped.id.as_deref(), Some("7"));
        assert_eq!(shipped.request_body, None);
        assert_eq!(shipped.response_body.as_deref(), Some(&[0xff][..]));
        assert_eq!(shipped.request_fields["accept"], ["a", "b"]);
        assert_eq!(shipped.size_bytes, Some(1));
        assert_eq!(shipped.scope.to_string(), "s/2/c");
        assert_eq!(shipped.request_id.as_deref(), Some("r"));
    }

    #[test]
    fn other_types_than_the_plugins_are_errors() {
        let check = |pointer: &str, value: Value| {
            let mut message = message();
            *message.pointer_mut(pointer).unwrap() = value;
            assert!(Shipped::read(&message).is_err(), "{pointer}");
        };
        check("/response/size_bytes", json!(1));
        check("/response/status", json!("200"));
        check("/response/response_time", json!("0.008"));
        check("/request/timestamp", json!("2018"));
        check("/request/method", json!(null));
        check("/request/headers/host", json!(1));
        check("/request/headers", json!({"Host": "x"}));
        check("/response/body", json!("!"));
        check("/response/body_encoding", json!("rot13"));
    }
}
