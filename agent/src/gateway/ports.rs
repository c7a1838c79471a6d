//! The ports by which clients know a gateway's listeners: Kong's `port_maps`.
//!
//! In: `80:8000` and the like, from the Admin API or from kongtap's own configuration. Out: a [`PortMap`]. Kong uses the outer port
//! for `net.dst.port` and wherever it tells a client its own address [Kong 3.9 kong/conf_loader/init.lua, kong/pdk/request.lua].

use std::sync::Arc;

use serde_json::Value;

/// The most ports that are mapped; there are no more than this.
const MAX_PORTS: usize = 65_535;

/// Outer ports by listener. Empty for a gateway that is reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMap(Arc<[Mapped]>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    outer: u16,
    listener: u16,
}

impl PortMap {
    /// Reads `outer:listener` texts as `kong.conf` has them.
    ///
    /// # Errors
    /// The text that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let all: Result<Vec<_>, _> = texts.into_iter().map(|text| mapped(text).ok_or(text)).collect();
        all.map(|all| Self(all.into()))
    }

    /// `port_maps` of `GET /`; what is odd in it is passed over. Lua's JSON has `{}` for an empty list.
    #[must_use]
    pub fn of_gateway(value: Option<&Value>) -> Self {
        let texts = value.and_then(Value::as_array).into_iter().flatten();
        let all = texts.filter_map(Value::as_str).filter_map(mapped);
        Self(all.take(MAX_PORTS).collect())
    }

    /// The port that clients know `listener` by, if it is another.
    #[must_use]
    pub fn outer(&self, listener: u16) -> Option<u16> {
        let found = self.0.iter().find(|mapped| mapped.listener == listener);
        found.map(|mapped| mapped.outer)
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn mapped(text: &str) -> Option<Mapped> {
    let (outer, listener) = text.trim().split_once(':')?;
    let port = |text: &str| text.trim().parse().ok().filter(|port| *port != 0);
    Some(Mapped {
        outer: port(outer)?,
        listener: port(listener)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PortMap;

    #[test]
    fn ports_are_read_as_kong_conf_has_them() {
        let map = PortMap::parse(["80:8000", " 443 : 8443 "]).expect("ports");
        assert_eq!(
            [8000, 8443, 9000].map(|port| map.outer(port)),
            [Some(80), Some(443), None]
        );
        for wrong in [
            "80",
            "80:",
            ":80",
            "0:8000",
            "80:8000:1",
            "http:8000",
            "80:70000",
            "",
        ] {
            assert_eq!(PortMap::parse(["80:8000", wrong]), Err(wrong));
        }
    }

    #[test]
    fn the_gateways_own_list_may_be_an_empty_map_or_odd() {
        let map = PortMap::of_gateway(Some(&json!(["80:8000", 7, "x"])));
        assert_eq!(map.outer(8000), Some(80));
        for nothing in [None, Some(json!({})), Some(json!([])), Some(json!("80:8000"))] {
            assert!(PortMap::of_gateway(nothing.as_ref()).is_empty(), "{nothing:?}");
        }
    }
}
