//! A message that loses its bodies when there is no room for them.
//!
//! In: where the bodies stand in a message's text, noted while it is written. Out: the same message without them, made by
//! copying what lies between; nothing is parsed and nothing that redaction hid can come back. Deliberately absent: when and
//! for whose sake (`ship` decides).

use std::cell::{Cell, RefCell};
use std::io;

use bytes::Bytes;
use serde::ser::{Serialize, Serializer};

use crate::message::Message;

/// Bodies of fewer bytes, both together, stay: their room is not worth the loss.
const WORTH_BYTES: usize = 64;

/// What follows a body that stands as base64.
const ENCODING: &[u8] = br#","body_encoding":"base64""#;

/// What `kong.completeness.request` and `.response` say of a body that was left out.
const MARK: &[u8] = br#","shed_in_queue":true"#;

/// The bytes of one value in a message's text; empty where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// Where what goes with the bodies stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bodies {
    request: Span,
    form: Span,
    response: Span,
    /// `kong.completeness.request` and `.response`, in the extended profile.
    request_completeness: Span,
    response_completeness: Span,
}

/// A value whose place is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    RequestBody,
    Form,
    ResponseBody,
    RequestCompleteness,
    ResponseCompleteness,
}

/// The text of a message while it is written, and the places noted so far.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    text: RefCell<Vec<u8>>,
    bodies: Cell<Bodies>,
}

/// A value that notes its place on the sheet when it is written there.
#[derive(Debug)]
pub(super) struct Noted<'a, T> {
    sheet: &'a Sheet,
    part: Part,
    pub(super) value: T,
}

impl Message {
    /// This message without its bodies, as `log_body: false` would have made it but that what is absent stays absent:
    /// `body` is `""`, `form` is `{}`, there is no `body_encoding`. Sizes stay. In the extended profile
    /// `kong.completeness` says `"shed_in_queue":true` of each side that lost a body. `None` if there is next to nothing to gain.
    #[must_use]
    pub fn without_bodies(&self) -> Option<Self> {
        if self.shed_bytes() == 0 {
            return None;
        }
        Some(Self {
            json: self.bodies.leave_out(&self.json)?,
            bodies: Bodies::default(),
            ..self.clone()
        })
    }

    /// About how much shorter [`without_bodies`](Self::without_bodies) is; zero where it is `None`.
    #[must_use]
    pub const fn shed_bytes(&self) -> usize {
        let bodies = &self.bodies;
        let bytes = bodies.request.inner_bytes() + bodies.form.inner_bytes() + bodies.response.inner_bytes();
        if bytes < WORTH_BYTES { 0 } else { bytes }
    }
}

impl Bodies {
    fn leave_out(&self, json: &[u8]) -> Option<Bytes> {
        let mut copy = Copy {
            from: json,
            at: 0,
            to: Vec::with_capacity(json.len().saturating_sub(self.kept_less())),
        };
        // In the order of the text.
        copy.replace_body(self.request)?;
        copy.replace(self.form, b"{}")?;
        copy.replace_body(self.response)?;
        for (body, completeness) in [
            (self.request, self.request_completeness),
            (self.response, self.response_completeness),
        ] {
            if body.inner_bytes() > 0 {
                copy.mark(completeness)?;
            }
        }
        copy.until(json.len())?;
        copy.to.shrink_to_fit();
        Some(copy.to.into())
    }

    /// What the copy is shorter by, at least.
    const fn kept_less(&self) -> usize {
        let gone = self.request.inner_bytes() + self.form.inner_bytes() + self.response.inner_bytes();
        gone.saturating_sub(2 * MARK.len())
    }
}

impl Span {
    /// Without its quotes or braces.
    const fn inner_bytes(self) -> usize {
        // Lossless: no platform that this is built for has a narrower `usize`.
        #[expect(clippy::as_conversions, reason = "`usize::try_from` is not const")]
        let bytes = self.end.saturating_sub(self.start) as usize;
        bytes.saturating_sub(2)
    }

    fn range(self) -> Option<(usize, usize)> {
        (self.start < self.end).then_some(())?;
        Some((usize::try_from(self.start).ok()?, usize::try_from(self.end).ok()?))
    }
}

/// A text that is copied with changes, from its beginning to its end.
struct Copy<'a> {
    from: &'a [u8],
    at: usize,
    to: Vec<u8>,
}

impl Copy<'_> {
    fn until(&mut self, end: usize) -> Option<()> {
        self.to.extend_from_slice(self.from.get(self.at..end)?);
        self.at = end;
        Some(())
    }

    fn replace(&mut self, span: Span, by: &[u8]) -> Option<()> {
        if let Some((start, end)) = span.range() {
            self.until(start)?;
            self.to.extend_from_slice(by);
            self.at = end;
        }
        Some(())
    }

    fn replace_body(&mut self, span: Span) -> Option<()> {
        self.replace(span, b"\"\"")?;
        if span.range().is_some() && self.from.get(self.at..)?.starts_with(ENCODING) {
            self.at += ENCODING.len();
        }
        Some(())
    }

    /// Adds the mark to the object at `span`.
    fn mark(&mut self, span: Span) -> Option<()> {
        if let Some((_, end)) = span.range() {
            self.until(end.checked_sub(1)?)?;
            self.to.extend_from_slice(MARK);
        }
        Some(())
    }
}

impl Sheet {
    pub(super) fn reserve(&self, bytes: usize) {
        self.text.borrow_mut().reserve(bytes);
    }

    pub(super) const fn note<T>(&self, part: Part, value: T) -> Noted<'_, T> {
        Noted {
            sheet: self,
            part,
            value,
        }
    }

    /// The text and where its bodies stand.
    pub(super) fn finish(self) -> (Vec<u8>, Bodies) {
        (self.text.into_inner(), self.bodies.get())
    }

    /// How much is written; more than a [`Span`] can say is none.
    fn position(&self) -> Option<u32> {
        u32::try_from(self.text.borrow().len()).ok()
    }
}

impl io::Write for &Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: Serialize> Serialize for Noted<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let start = self.sheet.position();
        let done = self.value.serialize(serializer)?;
        if let (Some(start), Some(end)) = (start, self.sheet.position()) {
            let mut bodies = self.sheet.bodies.get();
            *bodies.part(self.part) = Span { start, end };
            self.sheet.bodies.set(bodies);
        }
        Ok(done)
    }
}

impl Bodies {
    const fn part(&mut self, part: Part) -> &mut Span {
        match part {
            Part::RequestBody => &mut self.request,
            Part::Form => &mut self.form,
            Part::ResponseBody => &mut self.response,
            Part::RequestCompleteness => &mut self.request_completeness,
            Part::ResponseCompleteness => &mut self.response_completeness,
        }
    }
}

#[cfg(test)]
mod tests;
