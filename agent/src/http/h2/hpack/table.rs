//! The header tables of HPACK: the static one, and a dynamic one of which the older part may be unknown.
//!
//! In: insertions, size changes, losses. Out: what stands at an index. Bounded by [`Table::new`]'s limit.
//!
//! Why a table that was joined late is never wrong. An index counts from the newest entry (RFC 7541 section 2.3.3), so every entry
//! that was inserted before our eyes, without a loss since, has its right index whatever came before it. Entries are evicted from
//! the oldest on (section 4.4), so the encoder can only have *fewer* of the newest entries than were inserted, and it never
//! refers to one that it has evicted. Keeping an entry too long is harmless, therefore; forgetting one too early makes an unknown
//! value of it. After a lost header block, which may have inserted any number of entries, no entry has a known index any
//! more: the table starts anew.

use std::collections::VecDeque;

use bytes::Bytes;

/// What an entry counts beyond its name and value (RFC 7541 section 4.1), bytes.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Size of a table whose encoder has not said otherwise (RFC 9113 section 6.5.2), bytes.
const INITIAL_BYTES: usize = 4096;

/// A field line of which the name, the value or both may be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Name as sent.
    pub(crate) name: Option<Bytes>,
    /// Value as sent.
    pub(crate) value: Option<Bytes>,
}

impl Field {
    /// Nothing is known but that there is one.
    pub(super) const UNKNOWN: Self = Self {
        name: None,
        value: None,
    };

    /// Its size by RFC 7541 section 4.1; at least that, if parts are unknown.
    pub(super) fn size(&self) -> usize {
        let known = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        known(&self.name)
            .saturating_add(known(&self.value))
            .saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}

/// The dynamic table as far as it is known, behind the static one.
#[derive(Debug)]
pub(super) struct Table {
    /// Most bytes that are kept, whatever the encoder keeps.
    limit: usize,
    /// What the encoder keeps; `None` when it may have changed unseen.
    capacity: Option<usize>,
    /// Newest first.
    entries: VecDeque<Field>,
    size: usize,
    /// Whether the encoder may have older entries than these.
    has_unknown: bool,
}

impl Table {
    /// The empty table at the start of a connection.
    pub(super) fn new(limit: usize) -> Self {
        let mut table = Self {
            limit,
            capacity: Some(INITIAL_BYTES),
            entries: VecDeque::new(),
            size: 0,
            has_unknown: false,
        };
        table.fit();
        table
    }

    /// Everything so far may be at another index, or gone.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.capacity = None;
        self.has_unknown = true;
    }

    /// Bytes that are kept.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// What stands at `index`, counted from 1. `None`: nothing can stand there.
    pub(super) fn get(&self, index: usize) -> Option<Field> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some(Field {
                name: Some(Bytes::from_static(name)),
                value: Some(Bytes::from_static(value)),
            });
        }
        match self.entries.get(index.checked_sub(STATIC.len())?) {
            Some(field) => Some(field.clone()),
            None => self.has_unknown.then_some(Field::UNKNOWN),
        }
    }

    /// Inserts an entry (RFC 7541 section 4.4). One that is larger than the table empties it.
    pub(super) fn insert(&mut self, field: Field) {
        self.size = self.size.saturating_add(field.size());
        self.entries.push_front(field);
        self.fit();
    }

    /// The encoder changed the size of its table.
    pub(super) fn resize(&mut self, bytes: usize) {
        self.capacity = Some(bytes);
        self.fit();
    }

    fn fit(&mut self) {
        let capacity = self.capacity.unwrap_or(usize::MAX);
        let most = capacity.min(self.limit);
        while self.size > most {
            let Some(evicted) = self.entries.pop_back() else {
                break;
            };
            self.size = self.size.saturating_sub(evicted.size());
            // Sizes are exact or too small, so what does not fit here does not fit there. Older entries went before it.
            self.has_unknown = most < capacity;
        }
        if capacity.min(self.limit).saturating_sub(self.size) < ENTRY_OVERHEAD_BYTES && capacity <= self.limit
        {
            // No room for another entry, however small.
            self.has_unknown = false;
        }
    }
}

/// RFC 7541 Appendix A.
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];
