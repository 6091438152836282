//! Variables of a process, and files of them: `KEY=value` lines, a value as it is or in single quotes, as `kubectl
//! create secret --from-env-file` takes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::secrets::write_private;

/// Variables, by their names.
pub type Variables = BTreeMap<String, String>;

/// Reads a file of variables.
pub fn read(path: &Path) -> Result<Variables> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: is --secrets right?", path.display()))?;
    parse(&text).map_err(|mistake| anyhow!("{}: {mistake}", path.display()))
}

/// Writes a private file of variables.
pub fn write(path: &Path, variables: &Variables) -> Result<()> {
    write_private(path, &to_text(variables)?)
}

/// Quotes no value: it may be a secret.
fn parse(text: &str) -> Result<Variables, String> {
    let mut variables = Variables::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number}: KEY=value is expected"))?;
        let name = name.trim();
        let inside = value
            .strip_prefix('\'')
            .and_then(|value| value.strip_suffix('\''));
        let value = match inside {
            Some(inside) => inside,
            None if value.starts_with(['\'', '"']) => {
                return Err(format!(
                    "{name}: write it on one line, as it is or in single quotes"
                ));
            }
            None => value,
        };
        if variables
            .insert(name.to_owned(), value.to_owned())
            .is_some()
        {
            return Err(format!(
                "{name}: it stands there twice; keep the one that counts"
            ));
        }
    }
    Ok(variables)
}

fn to_text(variables: &Variables) -> Result<String> {
    let mut text = String::new();
    for (name, value) in variables {
        if value.contains(['\n', '\r']) || value.starts_with(['\'', '"']) {
            bail!("{name}: a value on one line, without quotes around it, is expected");
        }
        text.extend([name, "=", value, "\n"]);
    }
    Ok(text)
}

/// A database's URL with the server of this machine in place of another one. User, password and database stay.
pub fn on_this_machine(name: &str, url: &str, port: u16) -> Result<String> {
    // The parser's own text may quote the URL, and there is a password in it.
    let form = || format!("{name}: postgres://user:password@host/database is expected");
    let mut parsed = reqwest::Url::parse(url).ok().with_context(form)?;
    ensure!(
        matches!(parsed.scheme(), "postgres" | "postgresql")
            && !parsed.username().is_empty()
            && parsed.path().len() > 1,
        form()
    );
    parsed.set_host(Some("127.0.0.1")).ok().with_context(form)?;
    parsed.set_port(Some(port)).ok().with_context(form)?;
    parsed.set_query(None);
    Ok(parsed.into())
}

/// The name of a URL's database.
#[must_use]
pub fn database_of(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_both_forms_are_taken() {
        let variables = parse("# a comment\n\nA={\"k\":\"v=1\"}\n export B='x y'\nC=\n").unwrap();
        assert_eq!(variables["A"], "{\"k\":\"v=1\"}");
        assert_eq!((&*variables["B"], &*variables["C"]), ("x y", ""));
        assert_eq!(parse(&to_text(&variables).unwrap()).unwrap(), variables);
    }

    #[test]
    fn a_mistake_is_named_and_no_value_is_quoted() {
        for text in ["K=secret\nK=secret\n", "K=\"secret\"\n", "K='secret\n'\n"] {
            let mistake = parse(text).unwrap_err();
            assert!(mistake.starts_with("K: ") && !mistake.contains("secret"));
        }
        assert_eq!(
            parse("secret\n").unwrap_err(),
            "line 1: KEY=value is expected"
        );
        let two_lines = Variables::from([("K".to_owned(), "a\nb".to_owned())]);
        assert!(to_text(&two_lines).is_err());
    }

    #[test]
    fn only_host_port_and_query_of_a_url_are_replaced() {
        let url = "postgres://core_app:p%40ss@postgres-rw.smp-us.svc/smp?sslmode=verify-full&sslrootcert=/x/ca.crt";
        assert_eq!(
            on_this_machine("U", url, 5).unwrap(),
            "postgres://core_app:p%40ss@127.0.0.1:5/smp"
        );
        assert_eq!(database_of(url), "smp");
        let local = "postgres://core_app:pass@127.0.0.1:8711/core";
        assert_eq!(on_this_machine("U", local, 8711).unwrap(), local);
        for wrong in [
            "secret",
            "postgres://user:secret@host",
            "http://u:secret@h/d",
        ] {
            let mistake = on_this_machine("U", wrong, 5).unwrap_err().to_string();
            assert!(mistake.starts_with("U: ") && !mistake.contains("secret"));
        }
    }
}
