//! A file in three views: as it is; Rust without comments; Rust without comments and without what stands in quotes. Every
//! view has the same lines, so that a finding has a place.

/// A file.
#[derive(Debug)]
pub(super) struct Source {
    /// Path from the repository's root.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Without comments; empty for what is not Rust.
    pub(super) uncommented: String,
    /// Without comments and the contents of quotes; empty for what is not Rust.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        let (uncommented, code) = if path.ends_with(".rs") {
            views(&text)
        } else {
            Default::default()
        };
        Self {
            path,
            text,
            uncommented,
            code,
        }
    }

    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }

    /// Numbered lines of the code that is not for tests: up to the first `#[cfg(test)]`, which stands at the end of a file.
    pub(super) fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        shipped(self, &self.code)
    }

    /// The same with what stands in quotes.
    pub(super) fn shipped_uncommented(&self) -> impl Iterator<Item = (usize, &str)> {
        shipped(self, &self.uncommented)
    }
}

fn shipped<'a>(source: &Source, view: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let view = if source.is_test() { "" } else { view };
    (1_usize..)
        .zip(view.lines())
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
}

/// Where a scan of Rust text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Code,
    LineComment,
    /// Depth of nested block comments.
    BlockComment(usize),
    Quotes,
    /// Number of `#` that end it.
    RawQuotes(usize),
}

/// Without comments; without comments and the contents of quotes. What is left out becomes blanks.
fn views(text: &str) -> (String, String) {
    let (mut uncommented, mut code) = (
        String::with_capacity(text.len()),
        String::with_capacity(text.len()),
    );
    let mut place = Place::Code;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (taken, then) = step(place, rest);
        let taken = taken.max(next.len_utf8());
        let (piece, left) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        let is_comment = |place| matches!(place, Place::LineComment | Place::BlockComment(_));
        let comment = is_comment(place) || is_comment(then);
        let quoted = matches!(place, Place::Quotes | Place::RawQuotes(_)) && place == then;
        for c in piece.chars() {
            uncommented.push(if comment && c != '\n' { ' ' } else { c });
            code.push(if (comment || quoted) && c != '\n' { ' ' } else { c });
        }
        (place, rest) = (then, left);
    }
    (uncommented, code)
}

/// How many bytes to take, and where the scan is after them.
fn step(place: Place, rest: &str) -> (usize, Place) {
    match place {
        Place::Code => step_code(rest),
        Place::LineComment if rest.starts_with('\n') => (1, Place::Code),
        Place::LineComment => (rest.find('\n').unwrap_or(rest.len()), place),
        Place::BlockComment(depth) if rest.starts_with("/*") => {
            (2, Place::BlockComment(depth.saturating_add(1)))
        }
        Place::BlockComment(1) if rest.starts_with("*/") => (2, Place::Code),
        Place::BlockComment(depth) if rest.starts_with("*/") => {
            (2, Place::BlockComment(depth.saturating_sub(1)))
        }
        Place::BlockComment(_) => (1, place),
        Place::Quotes if rest.starts_with('\\') => (2, place),
        Place::Quotes if rest.starts_with('"') => (1, Place::Code),
        Place::Quotes => (1, place),
        Place::RawQuotes(hashes) => {
            let end = format!("\"{}", "#".repeat(hashes));
            if rest.starts_with(&end) {
                (end.len(), Place::Code)
            } else {
                (1, place)
            }
        }
    }
}

fn step_code(rest: &str) -> (usize, Place) {
    if rest.starts_with("//") {
        return (2, Place::LineComment);
    }
    if rest.starts_with("/*") {
        return (2, Place::BlockComment(1));
    }
    if rest.starts_with('"') {
        return (1, Place::Quotes);
    }
    // A character: 'x' or '\…'. Anything else with an apostrophe is a lifetime.
    if let Some(quoted) = rest.strip_prefix('\'') {
        let mut chars = quoted.chars();
        return match (chars.next(), chars.next()) {
            (Some('\\'), _) => (
                quoted
                    .get(2..)
                    .and_then(|tail| tail.find('\''))
                    .map_or(1, |end| end.saturating_add(4)),
                Place::Code,
            ),
            (Some(c), Some('\'')) => (c.len_utf8().saturating_add(2), Place::Code),
            _ => (1, Place::Code),
        };
    }
    // A word is taken whole, so that the `r` of `for"` is no raw string.
    let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at_checked(word).unwrap_or((rest, ""));
    if matches!(word, "r" | "br" | "cr") {
        let hashes = after.len().saturating_sub(after.trim_start_matches('#').len());
        if after.get(hashes..).is_some_and(|tail| tail.starts_with('"')) {
            return (
                word.len().saturating_add(hashes).saturating_add(1),
                Place::RawQuotes(hashes),
            );
        }
    }
    (word.len(), Place::Code)
}

/// Whether `c` can be part of a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{Source, views};

    #[test]
    fn comments_and_quotes_are_blanked_and_nothing_else() {
        let check = |text: &str, uncommented: &str, code: &str| {
            assert_eq!(views(text), (uncommented.to_owned(), code.to_owned()), "{text}");
        };
        check("a // b\nc", "a     \nc", "a     \nc");
        check(
            "a /* b /* c */ d */ e",
            "a                   e",
            "a                   e",
        );
        check(
            r#"f("x // y") // z"#,
            r#"f("x // y")     "#,
            r#"f("      ")     "#,
        );
        check(r#""a\"b" c"#, r#""a\"b" c"#, r#""    " c"#);
        check(r###"r#"a"b"# c"###, r###"r#"a"b"# c"###, r###"r#"   "# c"###);
        check(
            "'\"' x '\\'' y '\\\\' z",
            "'\"' x '\\'' y '\\\\' z",
            "'\"' x '\\'' y '\\\\' z",
        );
        check(
            "fn f<'a>(x: &'a str) {}",
            "fn f<'a>(x: &'a str) {}",
            "fn f<'a>(x: &'a str) {}",
        );
        check("\"é\" // é\n", "\"é\"     \n", "\" \"     \n");
    }

    #[test]
    fn test_code_is_not_shipped() {
        let shipped = |path: &str, text: &str| {
            Source::new(path.to_owned(), text.to_owned())
                .shipped_code()
                .count()
        };
        assert_eq!(shipped("agent/src/x.rs", "a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
        assert_eq!(shipped("agent/src/x/tests.rs", "a\nb\n"), 0);
        assert_eq!(shipped("tests/src/x.rs", "a\nb\n"), 0);
    }
}
