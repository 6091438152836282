//! The file of what people wrote down, to which is only added.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use infra::gate::records::{Record, Records, heading};
use jiff::Timestamp;
use protocol::Country;

/// Where a country's records are, unless somebody says otherwise.
const FOLDER: &str = "infra/gates";

/// A country's.
pub(super) struct RecordFile {
    path: PathBuf,
    country: Country,
}

impl RecordFile {
    /// Where somebody said, in a folder that is there: a slip of the pen must not begin a second file of which nobody
    /// knows. Else below `infra`, where the first record makes the folder.
    pub(super) fn of(said: Option<&Path>, country: Country) -> Result<Self, String> {
        let path = match said {
            Some(path) => path.to_owned(),
            None => Path::new(FOLDER).join(format!("{country}.toml")),
        };
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let is_there = folder.as_os_str().is_empty() || folder.is_dir();
        if said.is_some() && !is_there {
            return Err(format!(
                "--records: the folder {} is not there: make it, or name another",
                folder.display()
            ));
        }
        Ok(Self { path, country })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All records. What is not there yet is empty.
    pub(super) fn read(&self) -> Result<Records, String> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Records::default()),
            Err(error) => return Err(self.named(&error)),
        };
        // After it was read: somebody may have written until then.
        Records::parse(&text, Timestamp::now())
            .map_err(|mistake| format!("{}: {mistake}: mend it by hand", self.path.display()))
    }

    /// Adds a record to a file that can be read, with one write; makes the file where there is none.
    pub(super) fn append(&self, record: &Record) -> Result<(), String> {
        self.read()?;
        let in_file = |error: std::io::Error| self.named(&error);
        // The folder below `infra` at most: whoever stands somewhere else is told so by the opening.
        if let Some(folder) = self.path.parent() {
            let _is_there_or_cannot_be = fs::create_dir(folder);
        }
        let mut opened = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .map_err(in_file)?;
        // Two who write at once take turns.
        opened.lock().map_err(in_file)?;
        let mut text = record.to_toml()?;
        if opened.metadata().map_err(in_file)?.len() == 0 {
            text.insert_str(0, &heading(self.country.as_str()));
        }
        opened.write_all(text.as_bytes()).map_err(in_file)?;
        opened.sync_all().map_err(in_file)
    }

    fn named(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
}
