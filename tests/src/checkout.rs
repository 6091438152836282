//! Where things are: in the checkout, in its `.run/` folder, and beside this program.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The checkout that this program was built in.
#[must_use]
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// A folder in `.run/`, made if it is not there.
pub fn run_dir(name: &str) -> Result<PathBuf> {
    let directory = root().join(".run").join(name);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// A program of the workspace, built in the same profile as this one.
pub fn built_program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // An integration test is in `deps/`, one folder below the programs.
    let program = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    program.with_context(|| format!("{name} is not built: run 'cargo build --workspace'"))
}

/// A file that `make setup` puts into `node_modules/`.
pub fn node_module(path: &str) -> Result<PathBuf> {
    let file = root().join("node_modules").join(path);
    ensure!(
        file.exists(),
        "node_modules/{path} is missing: run 'make setup'"
    );
    Ok(file)
}

/// A short name for this checkout, by which what must lie outside of it is told from others'.
#[must_use]
pub fn fingerprint() -> String {
    let mut hasher = DefaultHasher::new();
    root().hash(&mut hasher);
    format!("{:08x}", hasher.finish() & 0xffff_ffff)
}
