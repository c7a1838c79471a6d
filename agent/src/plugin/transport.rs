//! How a destination is reached, beyond its URL: certificates, the version of HTTP, a proxy.
//!
//! In: what stands in a configuration. Out: closed types. These are kongtap's: the plugin verified nothing, spoke HTTP/1.1 and
//! knew no proxy. Deliberately absent: reading the file of authorities and the environment (`ship::clients`).

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use url::Url;

use crate::telemetry::secret::Secret;

/// What is wrong with a proxy's URL, to be appended to the key's name.
pub const PROXY_FORM: &str = "must be \"environment\", \"none\" or the URL of a proxy such as http://proxy.example:3128 or socks5h://proxy.example:1080";

/// How a destination is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transport {
    /// A PEM file with the authorities of the endpoint's certificate, and no others; absent: those of the host.
    pub tls_ca: Option<PathBuf>,
    /// The version of HTTP.
    pub http_version: HttpVersion,
    /// The proxy; absent: what `ship.proxy` says.
    pub proxy: Option<ProxyChoice>,
}

/// Which HTTP an endpoint is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Over TLS what both sides prefer, HTTP/2 first; else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    One,
    /// HTTP/2, over TLS or in clear text without asking first.
    Two,
}

impl HttpVersion {
    /// As it is written in a configuration.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "1.1",
            Self::Two => "2",
        }
    }

    /// The version of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::One, Self::Two]
            .into_iter()
            .find(|version| version.text() == text)
    }
}

/// Which proxy a destination is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyChoice {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// None.
    Direct,
    /// This one: `http`, `socks5` or `socks5h` (the proxy looks names up), `://[user:password@]host[:port]`, whatever
    /// `NO_PROXY` says.
    Url(Secret),
}

impl ProxyChoice {
    /// `environment`, `none` or a URL; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "environment" => Some(Self::Environment),
            "none" => Some(Self::Direct),
            _ => {
                let url = Url::parse(text).ok()?;
                let is_plain = matches!(url.path(), "" | "/") && url.query().is_none();
                let is_proxy =
                    matches!(url.scheme(), "http" | "socks5" | "socks5h") && url.has_host() && is_plain;
                is_proxy.then(|| Self::Url(Secret::new(text)))
            }
        }
    }

    /// As it is written in a configuration, credentials included.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Environment => "environment",
            Self::Direct => "none",
            Self::Url(url) => url.expose(),
        }
    }

    /// As it may be shown: `hidden` stands for the password.
    #[must_use]
    pub fn shown(&self, hidden: &str) -> String {
        let Self::Url(text) = self else {
            return self.expose().to_owned();
        };
        match (Url::parse(text.expose()), text.expose().rsplit_once('@')) {
            (Ok(url), Some((_, place))) if url.password().is_some() => {
                format!("{}://{}:{hidden}@{place}", url.scheme(), url.username())
            }
            _ => text.expose().to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.trim()).ok_or_else(|| serde::de::Error::custom(PROXY_FORM))
    }
}

#[cfg(test)]
mod tests {
    use super::{HttpVersion, ProxyChoice};

    #[test]
    fn a_proxy_is_one_of_two_words_or_a_url() {
        let check = |text: &str, shown: Option<&str>| {
            let parsed = ProxyChoice::parse(text);
            assert_eq!(
                parsed.as_ref().map(|it| it.shown("[x]")).as_deref(),
                shown,
                "{text}"
            );
            if let Some(parsed) = parsed {
                assert_eq!(parsed.expose(), text);
                assert!(!format!("{parsed:?}").contains("word"), "{parsed:?}");
            }
        };
        check("environment", Some("environment"));
        check("none", Some("none"));
        check("http://proxy:3128", Some("http://proxy:3128"));
        check("http://[::1]:3128/", Some("http://[::1]:3128/"));
        check("http://me@proxy", Some("http://me@proxy"));
        check("http://me:pass%40word@proxy:1", Some("http://me:[x]@proxy:1"));
        check("http://me:pass@word@proxy:1", Some("http://me:[x]@proxy:1"));
        check("socks5://proxy:1080", Some("socks5://proxy:1080"));
        check(
            "socks5h://me:word@proxy:1080",
            Some("socks5h://me:[x]@proxy:1080"),
        );
        check("", None);
        check("proxy:3128", None);
        check("https://proxy", None);
        check("socks4://proxy:1080", None);
        check("socks5://", None);
        check("http://proxy/path", None);
    }

    #[test]
    fn versions_have_names() {
        for version in [HttpVersion::Auto, HttpVersion::One, HttpVersion::Two] {
            assert_eq!(HttpVersion::parse(version.text()), Some(version));
        }
        assert_eq!(HttpVersion::parse("3"), None);
    }
}
