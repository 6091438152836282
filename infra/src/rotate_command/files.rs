//! The two files of a rotation: read, replaced whole, and nobody else's meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use infra::files::{Readers, lock, read, replace};
use infra::rotate::{Edit, File, Mistake};

/// What both files hold.
#[derive(PartialEq)]
pub(super) struct Texts {
    pub(super) core: String,
    pub(super) edge: String,
}

/// What the edge is given.
#[derive(Clone, Copy)]
pub(super) enum EdgeFile<'p> {
    /// Its secrets: for their owner only.
    Secrets(&'p Path),
    /// Its routes, which are in the repository: whoever might read them still may.
    Routes(&'p Path),
}

/// Where they are.
pub(super) struct Files {
    core: PathBuf,
    edge: PathBuf,
    is_edge_secret: bool,
    /// Whoever has these is the only one.
    _folders: Vec<fs::File>,
}

impl Files {
    /// `is_locked` keeps every other rotation from their folders for as long as this lives.
    pub(super) fn open(core: &Path, edge: EdgeFile<'_>, is_locked: bool) -> Result<Self, String> {
        let (edge, is_edge_secret) = match edge {
            EdgeFile::Secrets(path) => (path, true),
            EdgeFile::Routes(path) => (path, false),
        };
        // A link stays a link: what it leads to is replaced.
        let find = |path: &Path| {
            path.canonicalize()
                .map_err(|error| format!("{}: {error}", path.display()))
        };
        let (core, edge) = (find(core)?, find(edge)?);
        let mut folders = vec![folder(&core)];
        if folder(&edge) != folder(&core) {
            folders.push(folder(&edge));
        }
        let locks = folders.into_iter().filter(|_| is_locked).map(lock);
        let locks = locks.collect::<Result<_, _>>()?;
        Ok(Self {
            core,
            edge,
            is_edge_secret,
            _folders: locks,
        })
    }

    pub(super) fn path(&self, file: File) -> &Path {
        match file {
            File::Core => &self.core,
            File::Edge => &self.edge,
        }
    }

    /// A mistake with its file before it.
    pub(super) fn name(&self, mistake: &Mistake) -> String {
        format!("{}: {}", self.path(mistake.file).display(), mistake.text)
    }

    pub(super) fn read(&self) -> Result<Texts, String> {
        Ok(Texts {
            core: read(&self.core)?,
            edge: read(&self.edge)?,
        })
    }

    /// Replaces a file: whoever reads it, or is cut off, finds the old text or the new one. A file of secrets is for
    /// its owner only from then on.
    pub(super) fn write(&self, edit: &Edit) -> Result<(), String> {
        let path = self.path(edit.file);
        let readers = match edit.file {
            File::Edge if !self.is_edge_secret => Readers::AsBefore,
            File::Core | File::Edge => Readers::Owner,
        };
        replace(path, &edit.text, readers).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
