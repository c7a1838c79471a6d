//! Field lines, of a head or of a trailer section.
//!
//! `httparse` reads what is as it should be, which nearly all is. What it refuses is read once more here, line by line, as
//! nginx takes it (`ngx_http_parse_header_line` in `src/http/ngx_http_parse.c`), with what was odd about it: nothing that can
//! be shown is left out because of its neighbours.

use bytes::{Bytes, BytesMut};

use super::is_control;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::headers::{Header, Headers};

/// As many fields as most heads have; more are read line by line.
const USUAL_FIELDS: usize = 64;

/// Beyond the bound, as many lines are kept of those that say how the body is framed. More than two of them contradict each
/// other, or repeat.
const FRAMING_LINES: usize = 4;

/// Reads the field lines `fields` of `text`, as far as the empty line, or as the last whole one. At most `most` are kept.
pub(in crate::http::h1) fn parse(text: &Bytes, fields: &[u8], most: usize) -> (Headers, Anomalies) {
    let mut slots = [httparse::EMPTY_HEADER; USUAL_FIELDS];
    let usual = slots.get_mut(..most.min(USUAL_FIELDS)).unwrap_or_default();
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(fields, usual) else {
        return parse_lines(text, fields, most);
    };
    let headers = parsed
        .iter()
        .map(|field| Header {
            name: text.slice_ref(field.name.as_bytes()),
            value: text.slice_ref(field.value),
        })
        .collect();
    let mut anomalies = Anomalies::NONE;
    // `httparse` takes a CR only before an LF, so there are as many of both unless an LF stands alone.
    let count = |wanted: u8| fields.iter().filter(|byte| **byte == wanted).count();
    anomalies.insert_if(count(b'\n') != count(b'\r'), Anomaly::BareLineFeed);
    (Headers(headers), anomalies)
}

fn parse_lines(text: &Bytes, fields: &[u8], most: usize) -> (Headers, Anomalies) {
    let mut reading = Reading {
        text,
        most,
        lines: Vec::new(),
        framing_lines: 0,
        anomalies: Anomalies::NONE,
    };
    for line in fields.split_inclusive(|byte| *byte == b'\n') {
        // Without its end it is cut off.
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let whole = line.strip_suffix(b"\r");
        reading
            .anomalies
            .insert_if(whole.is_none(), Anomaly::BareLineFeed);
        let line = whole.unwrap_or(line);
        if line.is_empty() {
            break;
        }
        reading.take(line);
    }
    let headers = reading.lines.into_iter().map(Line::into_header).collect();
    (Headers(headers), reading.anomalies)
}

struct Reading<'a> {
    text: &'a Bytes,
    most: usize,
    lines: Vec<Line>,
    framing_lines: usize,
    anomalies: Anomalies,
}

/// A field, and the folded lines that go on with its value.
struct Line {
    name: Bytes,
    value: Bytes,
    folded: Vec<Bytes>,
}

impl Line {
    /// RFC 9112 section 5.2: a fold is as good as a space.
    fn into_header(self) -> Header {
        if self.folded.is_empty() {
            return Header {
                name: self.name,
                value: self.value,
            };
        }
        let mut value = BytesMut::from(&self.value[..]);
        for part in &self.folded {
            value.extend_from_slice(b" ");
            value.extend_from_slice(part);
        }
        Header {
            name: self.name,
            value: value.freeze(),
        }
    }
}

impl Reading<'_> {
    fn take(&mut self, line: &[u8]) {
        let has_control = line.iter().any(|byte| is_control(*byte));
        self.anomalies.insert_if(has_control, Anomaly::ControlByte);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            self.fold(line);
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
        let bare = name.trim_ascii_end();
        if bare.len() < name.len() && colon.is_some() {
            self.anomalies.insert(Anomaly::SpaceBeforeColon);
        }
        let is_name = !bare.is_empty() && bare.iter().all(|byte| is_name_byte(*byte));
        self.anomalies
            .insert_if(colon.is_none() || !is_name, Anomaly::BadFieldLine);
        // Bytes beyond ASCII, and signs, are shown. Without a name, or with two, it says nothing.
        let is_shown = !bare.is_empty() && !bare.iter().any(|byte| *byte <= b' ' || *byte == 0x7f);
        if is_shown {
            self.push(bare, value);
        }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.lines.len() >= self.most {
            self.anomalies.insert(Anomaly::TooManyFields);
            let frames = name.eq_ignore_ascii_case(b"content-length")
                || name.eq_ignore_ascii_case(b"transfer-encoding");
            if !frames || self.framing_lines >= FRAMING_LINES {
                return;
            }
            self.framing_lines += 1;
        }
        self.lines.push(Line {
            name: self.slice(name),
            value: self.slice(value),
            folded: Vec::new(),
        });
    }

    fn fold(&mut self, line: &[u8]) {
        let part = self.slice(line.trim_ascii());
        if let Some(last) = self.lines.last_mut() {
            self.anomalies.insert(Anomaly::ObsFold);
            last.folded.push(part);
        } else {
            self.anomalies.insert(Anomaly::BadFieldLine);
        }
    }

    fn slice(&self, part: &[u8]) -> Bytes {
        self.text.slice_ref(part)
    }
}

/// RFC 9110 section 5.6.2.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
