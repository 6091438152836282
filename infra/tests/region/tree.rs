//! All of a folder's files, in a form in which two runs can be compared: random and time are named, not shown.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use infra::route::history;
use infra::secrets;

/// Each file and folder, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, String>);

/// The files of smp-us's secrets.
pub(crate) const SECRETS: [&str; 4] = [
    "core.env",
    "core-setup.env",
    "replicator.env",
    "replicator-setup.env",
];

impl Tree {
    pub(crate) fn of(folder: &Path, parts: &[&str]) -> Self {
        let mut files = BTreeMap::new();
        for part in parts {
            collect(&folder.join(part), part, &mut files);
        }
        Self(files)
    }

    /// A secret is called by the place where it is made; wherever else it is found it must be the same.
    pub(crate) fn comparable(mut self) -> Self {
        let mut names = BTreeMap::new();
        for file in SECRETS {
            let Some(text) = self.0.get(&format!("secrets/smp-us/{file}")) else {
                continue;
            };
            for (number, value) in secret_values(text).into_iter().enumerate() {
                names.insert(value, format!("<{file} {number}>"));
            }
            if file == "core.env" {
                let key = secrets::sealing_key(text).unwrap().to_string();
                names.insert(key, "<sealing key>".to_owned());
            }
        }
        for (path, text) in &mut self.0 {
            if path == "run/routes.jsonl" {
                let past = history::read(text.split_once('\n').unwrap().1).unwrap();
                let lines = past.into_iter().map(|past| {
                    let (entry, is_confirmed) = (past.entry, past.confirmed.is_some());
                    format!(
                        "{} {} {} {} {:?} {is_confirmed}\n",
                        entry.by, entry.why, entry.action, entry.version, entry.changes
                    )
                });
                *text = lines.collect();
            }
            for (value, name) in &names {
                *text = text.replace(value, name);
            }
        }
        self
    }

    /// All but what is left out, by how its path begins.
    pub(crate) fn without(mut self, left_out: &[&str]) -> Self {
        self.0
            .retain(|path, _| !left_out.iter().any(|prefix| path.starts_with(prefix)));
        self
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How it differs from another one, for people.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let paths = self.0.keys().chain(other.0.keys());
        let mut paths: Vec<_> = paths
            .filter(|path| self.get(path) != other.get(path))
            .collect();
        paths.sort();
        paths.dedup();
        let shown = |path: &String| format!("{path}:\n{:?}\n{:?}", self.get(path), other.get(path));
        paths.into_iter().map(shown).collect()
    }

    /// That each file is as it was, or as it is to be, and none of it by half. The history is added to.
    #[track_caller]
    pub(crate) fn is_between(&self, before: &Self, after: &Self, when: &str) {
        for (path, text) in &self.0 {
            let is_one = [before, after]
                .iter()
                .any(|tree| tree.get(path) == Some(text));
            // What was about to replace a file, and what the platform is made of while it is copied.
            let is_left_over = [".smpctl", ".new", ".begun", ".next"]
                .iter()
                .any(|end| path.ends_with(end));
            assert!(
                is_one || is_left_over || path == "run/routes.jsonl",
                "{when}: {path} is neither: {text}"
            );
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, other: &Self, when: &str) {
        let differences = self.differences(other);
        assert!(differences.is_empty(), "{when}: {}", differences.join("\n"));
    }
}

/// Whatever is long enough to be random: digits in hex, and Base64.
fn secret_values(text: &str) -> Vec<String> {
    let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-".contains(letter);
    text.split(|letter| !is_of_it(letter))
        .flat_map(|part| part.split("://").collect::<Vec<_>>())
        .filter(|part| part.trim_end_matches('=').len() >= 43 && !part.contains("DATABASE"))
        .map(ToOwned::to_owned)
        .collect()
}

fn collect(path: &Path, name: &str, files: &mut BTreeMap<String, String>) {
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    if !path.is_dir() {
        let text = fs::read_to_string(path).unwrap();
        files.insert(name.to_owned(), format!("{mode:o}\n{text}"));
        return;
    }
    files.insert(format!("{name}/"), format!("{mode:o}"));
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        collect(&entry.path(), &name, files);
    }
}

/// Copies a file, or a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        let (folder, like) = (to.parent().unwrap(), from.parent().unwrap());
        if !folder.exists() {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, like.metadata().unwrap().permissions()).unwrap();
        }
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
