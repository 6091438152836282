//! The core's environment as a file of `KEY=value` lines, changed at one place and the same everywhere else.
//!
//! A value stands as it is, as `docker --env-file` and `kubectl --from-env-file` take it, or in single quotes, as a
//! shell and systemd do. Which of them reads the file nobody can see from it, so what is changed stays in its form.

use std::ops::Range;

use super::Mistake;

/// Where a value stands in the text, without its quotes; nothing if the key does not. It stands once, on one line.
fn find(text: &str, key: &str) -> Result<Option<Range<usize>>, Mistake> {
    let mut found = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(value) = value_of(line, key) {
            let value = start + value.start..start + value.end;
            if found.replace(value).is_some() {
                return Err(Mistake::core(format!(
                    "{key}: it stands there twice; keep the one that counts"
                )));
            }
        }
        start += line.len();
    }
    let Some(value) = found else {
        return Ok(None);
    };
    without_quotes(text, key, value).map(Some)
}

/// Where a line's value stands in it, if the line is of that key.
fn value_of(line: &str, key: &str) -> Option<Range<usize>> {
    let trimmed = line.trim_start();
    let assignment = trimmed.strip_prefix("export ").unwrap_or(trimmed);
    let value = assignment.trim_start().strip_prefix(key)?;
    let value = value.strip_prefix('=')?;
    let start = line.len() - value.len();
    Some(start..start + value.trim_end().len())
}

fn without_quotes(text: &str, key: &str, value: Range<usize>) -> Result<Range<usize>, Mistake> {
    let written = text.get(value.clone()).unwrap_or_default();
    let is_quoted = written.len() >= 2 && written.starts_with('\'') && written.ends_with('\'');
    if is_quoted {
        return Ok(value.start + 1..value.end - 1);
    }
    if written.starts_with(['\'', '"']) {
        return Err(Mistake::core(format!(
            "{key}: write it on one line, as it is or in single quotes"
        )));
    }
    Ok(value)
}

/// Whether each line is blank, a comment, or `KEY=value`: whoever reads the file stops at another one, or passes over
/// what it was meant to say.
pub(crate) fn check_lines(text: &str) -> Result<(), Mistake> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let is_assignment = assignment
            .split_once('=')
            .is_some_and(|(name, _)| is_name(name));
        if !(line.is_empty() || line.starts_with('#') || is_assignment) {
            return Err(Mistake::core(format!(
                "line {number}: KEY=value is expected"
            )));
        }
    }
    Ok(())
}

/// The value of a key; nothing if it is absent or empty, which is the same to a core.
pub(crate) fn value<'t>(text: &'t str, key: &str) -> Result<Option<&'t str>, Mistake> {
    let place = find(text, key)?;
    let value = place.and_then(|place| text.get(place));
    Ok(value.filter(|value| !value.is_empty()))
}

/// The text with another value of a key. A key that is not there comes at the end, quoted as that of `like` is.
pub(crate) fn with_value(text: &str, key: &str, new: &str, like: &str) -> Result<String, Mistake> {
    if let Some(place) = find(text, key)? {
        let mut changed = text.to_owned();
        changed.replace_range(place, new);
        return Ok(changed);
    }
    let is_quoted = find(text, like)?
        .and_then(|place| text.get(..place.start))
        .is_some_and(|before| before.ends_with('\''));
    let quote = if is_quoted { "'" } else { "" };
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        line_end
    };
    Ok(format!("{text}{gap}{key}={quote}{new}{quote}{line_end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_each_form_and_changed_in_its_own() {
        for (line, before, after) in [
            ("K=a b", "a b", "K=c"),
            ("K='a b'", "a b", "K='c'"),
            ("  export K='a'", "a", "  export K='c'"),
            ("K=a  ", "a", "K=c  "),
        ] {
            for (head, tail) in [
                ("", ""),
                ("# K=x\nKK=1\n", "\nX=K=2\n"),
                ("A=1\r\n", "\r\n"),
            ] {
                let text = format!("{head}{line}{tail}");
                assert_eq!(value(&text, "K").unwrap(), Some(before), "{text:?}");
                let changed = with_value(&text, "K", "c", "K").unwrap();
                assert_eq!(changed, format!("{head}{after}{tail}"), "{text:?}");
            }
        }
    }

    #[test]
    fn a_key_that_is_not_there_comes_at_the_end_in_the_form_of_its_like() {
        for (text, expected) in [
            ("L=1\n", "L=1\nK=c\n"),
            ("L='1'", "L='1'\nK='c'\n"),
            ("L=1\r\n", "L=1\r\nK=c\r\n"),
            ("", "K=c\n"),
        ] {
            assert_eq!(with_value(text, "K", "c", "L").unwrap(), expected);
        }
        assert_eq!(value("K=\n", "K").unwrap(), None);
        assert_eq!(with_value("K=\nX=1", "K", "c", "X").unwrap(), "K=c\nX=1");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_and_not_quoted() {
        for text in ["K=secret\nK=secret\n", "K=\"secret\"\n", "K='secret\n'\n"] {
            let mistake = value(text, "K").unwrap_err();
            assert!(mistake.text.starts_with("K: ") && !mistake.text.contains("secret"));
        }
    }
}
