//! Files that several people's `smpctl` read and write: replaced whole, so that whoever reads one, or is cut off while it
//! is written, finds the old text or the new one; and by one of them at a time.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// Whoever could before; of a file that is new, whoever the process lets (its umask).
    AsBefore,
}

/// Replaces a file, or makes it. What is left over from one that was cut off goes.
pub fn replace(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let whole = path.with_file_name(format!(".{name}.smpctl"));
    // What was cut off earlier left it.
    if let Err(error) = fs::remove_file(&whole)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let before = match (readers, fs::metadata(path)) {
        (Readers::Owner, _) => Some(0o600),
        (Readers::AsBefore, Ok(metadata)) => Some(metadata.permissions().mode()),
        (Readers::AsBefore, Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        (Readers::AsBefore, Err(error)) => return Err(error),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(before.unwrap_or(0o666))
        .open(&whole)?;
    if let Some(mode) = before {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&whole, path));
    if let Err(error) = written {
        // On a full disk, say.
        let _ = fs::remove_file(&whole);
        return Err(error);
    }
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Reads a file; the error names it.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// How long one waits for another one who is at work.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Whoever has a folder's lock is the only one who changes what is in it, for as long as this lives. Waits for a moment: a
/// flip of another one is soon over, and a pause must not fail for it.
pub fn lock(folder: &Path) -> Result<File, String> {
    let in_folder = |error: io::Error| format!("{}: {error}", folder.display());
    let opened = File::open(folder).map_err(in_folder)?;
    let began = Instant::now();
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(opened),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "{}: another smpctl is at work in this folder; one ends before the next begins",
                    folder.display()
                ));
            }
            Err(TryLockError::Error(error)) => return Err(in_folder(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_by_whom_it_was_or_by_its_owner_only() {
        let folder = std::env::temp_dir().join(format!("smpctl-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        fs::write(folder.join(".a.smpctl"), "cut off").unwrap();
        replace(&path, "1", Readers::AsBefore).unwrap();
        fs::write(folder.join("b"), "").unwrap();
        let usual = fs::metadata(folder.join("b")).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode()),
            ("1", usual)
        );
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, "22", Readers::AsBefore).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode()),
            ("22", 0o640)
        );
        replace(&path, "", Readers::Owner).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode()),
            ("", 0o600)
        );
        assert!(!folder.join(".a.smpctl").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
