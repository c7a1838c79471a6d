//! `${NAME}` in the lab's configuration files.

use anyhow::bail;

/// `text` with each `${NAME}` replaced by its value. Lines that start with `#` are kept as they are.
///
/// # Errors
/// When a name has no value: names it and its line.
pub fn fill(text: &str, values: &[(&str, String)]) -> anyhow::Result<String> {
    let mut filled = String::with_capacity(text.len());
    for (number, line) in (1_usize..).zip(text.lines()) {
        let mut line = line.to_owned();
        if !line.trim_start().starts_with('#') {
            for (name, value) in values {
                line = line.replace(&format!("${{{name}}}"), value);
            }
            if let Some((_, rest)) = line.split_once("${") {
                bail!("line {number}: nothing to put in place of ${{{rest}");
            }
        }
        filled.push_str(&line);
        filled.push('\n');
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn every_name_is_replaced_or_reported() {
        let values = [("A", "1".to_owned()), ("B", "two".to_owned())];
        assert_eq!(fill("# ${C}\nx: ${A}${B}", &values).unwrap(), "# ${C}\nx: 1two\n");
        let error = fill("x: 1\ny: ${C}", &values).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("${C}"), "{error}");
    }
}
