//! Questions on a terminal, and how their answers are read.

use std::fmt::Display;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use protocol::RegionId;

/// What stands between commas; at least one.
pub(super) fn list<T, M: Display>(
    answer: &str,
    read: impl Fn(&str) -> Result<T, M>,
) -> Result<Vec<T>, String> {
    let parts = answer.split(',').map(str::trim);
    let read = parts
        .filter(|part| !part.is_empty())
        .map(|part| read(part).map_err(|mistake| format!("{part}: {mistake}")));
    let read: Vec<T> = read.collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err("at least one is expected".to_owned());
    }
    Ok(read)
}

/// Asks on a terminal; elsewhere it remembers what would have been asked.
pub(super) struct Interview {
    is_terminal: bool,
    answers: Vec<(&'static str, String)>,
    missing: Vec<&'static str>,
}

/// Those of which each part of an answer is given by itself.
const LISTS: [&str; 3] = ["--countries", "--law", "--leaves-from"];

impl Interview {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stdin().is_terminal(),
            answers: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(super) fn or_ask(
        &mut self,
        said: Option<&String>,
        flag: &'static str,
        question: &str,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<String, String>,
    ) -> String {
        match said {
            Some(said) => said.clone(),
            None => self.ask(flag, question, default, read),
        }
    }

    /// Asks until the answer can be read. Of what nobody answers [`Self::end`] tells.
    pub(super) fn ask<T: Default>(
        &mut self,
        flag: &'static str,
        question: &str,
        default: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        if !self.is_terminal {
            self.missing.push(flag);
            return T::default();
        }
        let proposed = default.map(|default| format!(" [{default}]"));
        let proposed = proposed.unwrap_or_default();
        let mut stderr = std::io::stderr();
        let mut stdin = std::io::stdin().lock();
        loop {
            let _ = write!(stderr, "{question}{proposed}: ");
            let mut answer = String::new();
            let read_line = stdin.read_line(&mut answer);
            if matches!(&read_line, Err(error) if error.kind() == ErrorKind::InvalidData) {
                let _ = writeln!(stderr, "UTF-8 is expected");
                continue;
            }
            if !matches!(read_line, Ok(1..)) {
                // Nobody answers any more.
                self.is_terminal = false;
                let _ = writeln!(stderr);
                self.missing.push(flag);
                return T::default();
            }
            let answer = match (answer.trim(), default) {
                ("", None) => continue,
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            match read(answer) {
                Ok(read) => {
                    self.answers.push((flag, answer.to_owned()));
                    return read;
                }
                Err(mistake) => {
                    let _ = writeln!(stderr, "{mistake}");
                }
            }
        }
    }

    /// What was answered, as a shell takes it.
    pub(super) fn flags(&self) -> String {
        let mut flags = String::new();
        for (flag, answer) in &self.answers {
            let parts = answer.split(',').filter(|_| LISTS.contains(flag));
            let mut parts: Vec<_> = parts
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .collect();
            if parts.is_empty() {
                parts.push(answer);
            }
            for part in parts {
                let part = part.replace('\'', "'\\''");
                flags.extend([" ", flag, " '", &part, "'"]);
            }
        }
        flags
    }

    /// That everything is known.
    pub(super) fn end(&self, id: &RegionId) -> Result<(), String> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let answered = match self.flags() {
            flags if flags.is_empty() => String::new(),
            flags => format!("\nwhat was answered, as flags:{flags}"),
        };
        Err(format!(
            "of {id} these are not known yet: {}; say them, or answer on a terminal, where they are asked for \
             (smpctl region add --help has an example){answered}",
            self.missing.join(", ")
        ))
    }
}
