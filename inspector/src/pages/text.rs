//! Captured text, made fit to be read: what cannot be seen is shown, what is too long is cut.
//!
//! Escaping for HTML is the templates' work and comes after this. Deliberately absent: any markup.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::clock::UnixMicros;

/// What stands for the rest of a text that was cut.
const CUT: &str = " …";

/// How line breaks and tabs are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// They stay: the text is shown as a block.
    Kept,
    /// They are shown as signs: the text belongs on one line.
    Shown,
}

/// At most `most` bytes of `text`, with characters that cannot be seen, or that reorder what is around them, replaced by
/// signs for them.
pub(crate) fn visible(text: &str, most: usize, lines: Lines) -> Cow<'_, str> {
    let shown = text.get(..text.floor_char_boundary(most)).unwrap_or(text);
    let cut = shown.len() < text.len();
    if !cut && !shown.chars().any(|character| sign(character, lines).is_some()) {
        return Cow::Borrowed(shown);
    }
    let mut out = String::with_capacity(shown.len() + 16);
    for character in shown.chars() {
        match sign(character, lines) {
            None => out.push(character),
            Some(sign) => out.push_str(&sign),
        }
    }
    if cut {
        out.push_str(CUT);
    }
    Cow::Owned(out)
}

/// One line of a page.
pub(crate) fn line(text: &str, most: usize) -> String {
    visible(text, most, Lines::Shown).into_owned()
}

fn sign(character: char, lines: Lines) -> Option<Cow<'static, str>> {
    match character {
        '\n' | '\t' if lines == Lines::Kept => None,
        // A line's end as HTTP writes it; the line feed does the work.
        '\r' if lines == Lines::Kept => Some(Cow::Borrowed("")),
        '\0'..='\x1f' => {
            char::from_u32(0x2400 + u32::from(character)).map(|sign| Cow::Owned(sign.to_string()))
        }
        '\x7f' => Some(Cow::Borrowed("␡")),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(Cow::Owned(format!("⟨U+{:04X}⟩", u32::from(character)))),
        _ => None,
    }
}

/// `12:34:56.789` of the day, UTC.
pub(crate) fn clock_time(at: UnixMicros) -> String {
    formatted(at, "%H:%M:%S%.3f")
}

/// `2026-11-22 12:34:56.789 UTC`.
pub(crate) fn full_time(at: UnixMicros) -> String {
    formatted(at, "%Y-%m-%d %H:%M:%S%.3f UTC")
}

fn formatted(at: UnixMicros, format: &str) -> String {
    Timestamp::from_microsecond(at.0)
        .map_or_else(|_| "–".to_owned(), |time| time.strftime(format).to_string())
}

/// A time span, in the unit that fits.
pub(crate) fn duration(micros: i64) -> String {
    match micros {
        ..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
        60_000_000.. => format!(
            "{} min {} s",
            micros / 60_000_000,
            micros % 60_000_000 / 1_000_000
        ),
    }
}

/// A size, in the unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    let with = |unit: u64, name: &str| {
        let tenths = bytes / (unit / 10).max(1);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match bytes {
        ..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => with(1_000, "kB"),
        1_000_000..1_000_000_000 => with(1_000_000, "MB"),
        1_000_000_000.. => with(1_000_000_000, "GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, clock_time, duration, full_time, size, visible};
    use crate::clock::UnixMicros;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        for (text, lines, expected) in [
            ("plain é 😀", Lines::Shown, "plain é 😀"),
            ("a\0b\x1b[1m\x7f", Lines::Shown, "a␀b␛[1m␡"),
            ("a\r\nb\tc", Lines::Kept, "a\nb\tc"),
            ("a\r\nb", Lines::Shown, "a␍␊b"),
            ("gpj.\u{202e}exe\u{2069}", Lines::Kept, "gpj.⟨U+202E⟩exe⟨U+2069⟩"),
            ("\u{feff}\u{200b}\u{9b}", Lines::Kept, "⟨U+FEFF⟩⟨U+200B⟩⟨U+009B⟩"),
        ] {
            assert_eq!(visible(text, 1_000, lines), expected, "{text:?}");
        }
        assert_eq!(visible("éé", 3, Lines::Shown), "é …");
    }

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(clock_time(UnixMicros(1_795_341_581_101_999)), "09:59:41.101");
        assert_eq!(
            full_time(UnixMicros(1_795_341_581_101_000)),
            "2026-11-22 09:59:41.101 UTC"
        );
        assert_eq!(clock_time(UnixMicros(i64::MAX)), "–");
        for (micros, expected) in [
            (7, "7 µs"),
            (2_050, "2.0 ms"),
            (99_999, "99 ms"),
            (1_234_567, "1.23 s"),
            (61_000_000, "1 min 1 s"),
        ] {
            assert_eq!(duration(micros), expected);
        }
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
