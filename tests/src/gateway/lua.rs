//! The configuration as a Lua table, the form in which the stand-in's nginx takes it.

use crate::gateway::configuration::{Configuration, Credential, Entry};

/// `return { entries = …, credentials = … }`, with every text quoted.
#[must_use]
pub fn table(configuration: &Configuration) -> String {
    let mut lua = String::from("local services = {\n");
    for (index, service) in configuration.services.iter().enumerate() {
        lua.push_str(&format!(
            "  {{ upstream = {}, scheme = {}, host = {}, path = {} }},\n",
            text(&upstream_name(index)),
            text(&service.scheme),
            text(&service.host),
            text(&service.path),
        ));
    }
    lua.push_str("}\nreturn {\n  entries = {\n");
    for entry in &configuration.entries {
        lua.push_str(&format!("    {},\n", self::entry(entry)));
    }
    lua.push_str("  },\n  credentials = {\n");
    for credential in &configuration.credentials {
        lua.push_str(&format!("    {},\n", self::credential(credential)));
    }
    lua.push_str("  },\n}\n");
    lua
}

/// What nginx calls the pool of connections to a service.
#[must_use]
pub fn upstream_name(service: usize) -> String {
    format!("service_{service}")
}

fn entry(entry: &Entry) -> String {
    let mut fields = vec![
        format!("route = {}", text(&entry.route)),
        format!("service = services[{}]", entry.service.saturating_add(1)),
        format!("strip = {}", entry.strip_path),
        format!("preserve_host = {}", entry.preserve_host),
    ];
    if !entry.hosts.is_empty() {
        fields.push(format!("hosts = {}", set(&entry.hosts)));
    }
    if !entry.methods.is_empty() {
        fields.push(format!("methods = {}", set(&entry.methods)));
    }
    if let Some(path) = &entry.path {
        fields.push(format!("path = {}", text(path)));
    }
    if let Some(auth) = &entry.key_auth {
        let names: Vec<_> = auth.key_names.iter().map(|name| text(name)).collect();
        fields.push(format!(
            "auth = {{ names = {{ {} }}, hide = {}, in_header = {}, in_query = {} }}",
            names.join(", "),
            auth.hide_credentials,
            auth.key_in_header,
            auth.key_in_query,
        ));
    }
    format!("{{ {} }}", fields.join(", "))
}

fn credential(credential: &Credential) -> String {
    let optional = |value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(|| "nil".to_owned(), |value| text(value))
    };
    format!(
        "[{}] = {{ id = {}, consumer_id = {}, username = {}, custom_id = {} }}",
        text(&credential.key),
        text(&credential.id),
        text(&credential.consumer_id),
        optional(&credential.username),
        optional(&credential.custom_id),
    )
}

fn set(items: &[String]) -> String {
    let items: Vec<_> = items
        .iter()
        .map(|item| format!("[{}] = true", text(item)))
        .collect();
    format!("{{ {} }}", items.join(", "))
}

/// A quoted Lua string: everything but plain characters as a decimal escape.
fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b" -_./:".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("\\{byte:03}"));
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_text_cannot_end_its_quotes() {
        assert_eq!(text("/a-b"), "\"/a-b\"");
        assert_eq!(text("\"\\\né"), "\"\\034\\092\\010\\195\\169\"");
    }
}
