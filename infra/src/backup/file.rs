//! The file of a backup: it has its name only when it is whole and on disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How files end that are not finished.
const PARTIAL: &str = ".partial";

/// A file that is being written, for its owner only, beside the place where it will stand. Dropped, it is removed.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_placed: bool,
}

impl NewFile {
    /// Begins it. Nothing may stand at `path`. What others left unfinished beside it, and are not writing any more, is
    /// removed: it holds personal data and is of no use.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is there already, and a backup is never written over",
            ));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        remove_left_over(directory(path), &partial)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        // Whoever finds it can see that somebody writes it: the lock ends with the process.
        file.try_lock()?;
        Ok(Self {
            file,
            partial,
            path: path.to_owned(),
            is_placed: false,
        })
    }

    /// Puts it where it belongs, once all of it is on disk.
    pub fn place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        // Renaming would replace what has come there meanwhile, so it is for file systems that know no links.
        match fs::hard_link(&self.partial, &self.path) {
            Ok(()) => fs::remove_file(&self.partial)?,
            Err(_) if !self.path.try_exists()? => fs::rename(&self.partial, &self.path)?,
            Err(error) => return Err(error),
        }
        self.is_placed = true;
        File::open(directory(&self.path))?.sync_all()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Ours end in `.smpbackup.partial`; one that was to be called otherwise is found by whoever writes it again.
fn remove_left_over(directory: &Path, own: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_own = own.file_name() == path.file_name();
        if !is_own && !name.ends_with(&format!(".{EXTENSION}{PARTIAL}")) {
            continue;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => fs::remove_file(&path)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

/// What a backup's name ends in.
pub const EXTENSION: &str = "smpbackup";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("smp-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_is_for_its_owner_only() {
        let folder = folder("whole");
        let path = folder.join("a.smpbackup");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(!path.exists());
        file.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(NewFile::create(&path).is_err(), "it would be written over");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_one_left_is_removed_and_what_another_writes_is_not() {
        let folder = folder("left");
        let left = folder.join("dead.smpbackup.partial");
        fs::write(&left, b"half").unwrap();
        let by_another_name = folder.join("nightly.partial");
        fs::write(&by_another_name, b"half").unwrap();
        drop(NewFile::create(&folder.join("nightly")).unwrap());
        assert!(!by_another_name.exists());
        fs::write(&left, b"half").unwrap();
        let alive = NewFile::create(&folder.join("alive.smpbackup")).unwrap();
        assert!(!left.exists());
        let other = NewFile::create(&folder.join("other.smpbackup")).unwrap();
        assert!(folder.join("alive.smpbackup.partial").exists());
        drop((alive, other));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
