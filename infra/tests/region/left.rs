//! All that a kill may leave of a command whose writes are known: the first of them, and none of the others.

use std::fs;
use std::path::Path;

use crate::tree::copy;
use crate::world::World;

/// Of what is rendered, so many files between two of those behind which it is cut off.
const RENDERED_STEP: usize = 5;

/// The writes of a command, in order. What stands here is a file or a folder; `run/routes.jsonl+1` is one more line of
/// the history.
pub(crate) struct Writes {
    before: String,
    after: String,
    paths: Vec<String>,
}

impl Writes {
    /// What leads from one saved state to another. `infra/rendered` stands for all that differs there.
    pub(crate) fn new(world: &World, (before, after): (&str, &str), order: &[&str]) -> Self {
        let (before, after) = (format!("stage/{before}"), format!("stage/{after}"));
        let mut paths = Vec::new();
        for path in order {
            if *path == "infra/rendered" {
                let (before, after) = (world.saved(&before), world.saved(&after));
                let all = before.paths().chain(after.paths());
                let mut all: Vec<_> = all
                    .filter(|name| name.starts_with(path) && !name.ends_with('/'))
                    .filter(|name| before.get(name) != after.get(name))
                    .collect();
                all.sort_unstable();
                all.dedup();
                paths.extend(all.into_iter().map(ToOwned::to_owned));
            } else {
                paths.push((*path).to_owned());
            }
        }
        Self {
            before,
            after,
            paths,
        }
    }

    /// By how many of the writes it may be cut off.
    pub(crate) fn cuts(&self) -> Vec<usize> {
        let is_rendered = |index: &usize| {
            let path = self.paths.get(*index);
            path.is_some_and(|path| path.starts_with("infra/rendered"))
        };
        (0..=self.paths.len())
            .filter(|index| !is_rendered(index) || index % RENDERED_STEP == 0)
            .collect()
    }

    /// Leaves the first so many of them, and half of a file that was about to be replaced; says what that is.
    pub(crate) fn leave(&self, world: &World, cut: usize) -> String {
        world.restore(&self.before);
        let after = world.folder.join(&self.after);
        for path in &self.paths[..cut] {
            let (path, lines) = path.split_once('+').unwrap_or((path, ""));
            let (from, to) = (after.join(path), world.folder.join(path));
            if lines.is_empty() {
                replace(&from, &to);
            } else {
                let there = fs::read_to_string(&to).unwrap_or_default().lines().count();
                let text = fs::read_to_string(&from).unwrap();
                let lines: Vec<_> = text.split_inclusive('\n').take(there + 1).collect();
                fs::write(&to, lines.concat()).unwrap();
            }
        }
        let Some(next) = self.paths.get(cut) else {
            return "all is done".to_owned();
        };
        let is_smpctls = !next.starts_with("applied/") && !next.starts_with("run/");
        let (to, from) = (world.folder.join(next), after.join(next));
        if is_smpctls && from.is_file() && to.parent().unwrap().is_dir() {
            let text = fs::read_to_string(from).unwrap();
            let name = to.file_name().unwrap().to_string_lossy();
            let half = to.with_file_name(format!(".{name}.smpctl"));
            fs::write(half, text.chars().take(text.len() / 2).collect::<String>()).unwrap();
        }
        format!("cut off before {next}")
    }
}

fn replace(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let _ = fs::remove_file(to);
    if from.exists() {
        copy(from, to);
        return;
    }
    // A folder that is empty goes with its last file.
    let parents = to.ancestors().skip(1);
    for parent in parents.take_while(|parent| {
        parent
            .components()
            .any(|part| part.as_os_str() == "kubernetes")
    }) {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
}
