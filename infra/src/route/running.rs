//! The file by which the platform on this machine runs, and which wrangler watches.
//!
//! Not pure: `smpctl route --local` and the platform itself write it alike.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Result, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take to be heard of. wrangler, which is busy with the change before, may not see that its file was
/// changed again: then it is to be written once more.
pub const WATCHER_PATIENCE: Duration = Duration::from_secs(3);

/// Reads it: what was to be written last, be it that whoever wrote was cut off.
pub fn read(path: &Path) -> Result<String> {
    match fs::read_to_string(beside(path, "next")) {
        Err(error) if error.kind() == ErrorKind::NotFound => fs::read_to_string(path),
        read => read,
    }
}

/// Writes into the file that is there, for wrangler loses sight of one that is replaced for the third time. Should
/// wrangler read half of it, it hears of the rest; [`read`] never gives half.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let (begun, next) = (beside(path, "begun"), beside(path, "next"));
    fs::write(&begun, text)?;
    fs::rename(&begun, &next)?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    fs::remove_file(&next)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("running-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn it_stays_the_same_file_however_often_and_whatever_is_written() {
        let folder = folder("same");
        let file = folder.join("wrangler.toml");
        write(&file, "first").unwrap();
        let first = file.metadata().unwrap().ino();
        for text in ["longer than before", "", "short", "and long again"] {
            write(&file, text).unwrap();
            assert_eq!(read(&file).unwrap(), text);
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(file.metadata().unwrap().ino(), first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_cut_off_is_read_whole_and_gone_on_with() {
        let folder = folder("cut-off");
        let file = folder.join("wrangler.toml");
        // Cut off before the new text was whole: it is the old one's.
        write(&file, "old").unwrap();
        fs::write(beside(&file, "begun"), "ne").unwrap();
        assert_eq!(read(&file).unwrap(), "old");
        // Cut off while it was written.
        fs::write(beside(&file, "next"), "new text").unwrap();
        for half in ["old", "new", "new text, and what is longer in the old one"] {
            fs::write(&file, half).unwrap();
            assert_eq!(read(&file).unwrap(), "new text");
        }
        write(&file, "newer").unwrap();
        assert_eq!(read(&file).unwrap(), "newer");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
