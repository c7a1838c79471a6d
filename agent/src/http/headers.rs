//! Header fields as they were on the wire: order, repeats, case and bytes kept.

use bytes::Bytes;

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name as sent.
    pub name: Bytes,
    /// Value as sent, without the blanks around it.
    pub value: Bytes,
}

/// The field lines of one head, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// Memory that they take, bytes, as far as it is counted: the texts, and what holds them.
    pub(crate) fn held_bytes(&self) -> usize {
        let held = |header: &Header| size_of::<Header>() + header.name.len() + header.value.len();
        self.0.iter().map(held).sum()
    }

    /// The first value of the field `name` (any case).
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| &header.value)
    }

    /// Every value of the field `name` (any case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> + 'a {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| &header.value)
    }

    /// Whether a field of this name (any case) is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The first value of `name` as text, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// Adds a field line at the end.
    pub fn push(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Header {
            name: name.into(),
            value: value.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn names_are_found_in_any_case_and_repeats_keep_their_order() {
        let mut headers = Headers::default();
        headers.push("Accept", "text/html");
        headers.push("X-Id", "1");
        headers.push("accept", "application/json");
        assert_eq!(headers.text("ACCEPT"), Some("text/html"));
        assert_eq!(headers.all("accept").count(), 2);
        assert!(!headers.contains("host"));
    }
}
