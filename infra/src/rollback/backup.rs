//! Whether a file is a backup that is worth relying on before data are dropped.
//!
//! One of ours is read to its end: whether it is whole, of which region, and of when. A dump of `pg_dump` is judged by how
//! it begins and by the file's age; that it is complete, and of which database, only a restore shows.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::backup::archive;
use crate::backup::reader::verify;

/// A backup that is older is not one of now.
const AGE_MAX: Duration = Duration::from_hours(1);

/// Longer than any backup takes.
const WRITING_MAX: Duration = Duration::from_hours(12);

/// How `pg_dump`'s custom format begins, and the list of contents of its directory format.
const MAGIC: &[u8] = b"PGDMP";

/// The magic, the version and the sizes: a dump that is no longer holds nothing.
const HEADER_BYTES: usize = 11;

/// The list of contents of a dump in a directory.
const CONTENTS: &str = "toc.dat";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// In which form.
    pub form: &'static str,
    /// Of which region, if it says so.
    pub region: Option<String>,
    /// When it was finished; of a copy of one of ours, when its snapshot was taken.
    pub taken_at: SystemTime,
}

impl Backup {
    /// How old it is, or why it is not one of now.
    pub fn age(&self, now: SystemTime) -> Result<Duration, String> {
        age(self.taken_at, now).map_err(|why| {
            format!("{why}: smpctl region backup, or pg_dump -Fc, writes one of now")
        })
    }
}

/// A backup by its path, or why it is none. A further form of backup is recognised here.
pub fn read(path: &Path) -> Result<Backup, String> {
    let in_file = |error: std::io::Error| format!("{}: {error}", path.display());
    let metadata = fs::metadata(path).map_err(in_file)?;
    let (form, file) = if metadata.is_dir() {
        ("a dump in a directory", path.join(CONTENTS))
    } else {
        ("a dump in custom format", path.to_owned())
    };
    let mistake = |why: &str| {
        format!(
            "{}: {why}: smpctl region backup, or pg_dump -Fc, writes one of now",
            path.display()
        )
    };
    let none = || {
        mistake(
            "no backup of smpctl region backup, and no dump in pg_dump's custom or directory format",
        )
    };
    let metadata = fs::metadata(&file).map_err(|_| none())?;
    // Whatever else a device or a pipe would give, it cannot be restored from twice.
    if !metadata.is_file() {
        return Err(none());
    }
    let mut header = [0; HEADER_BYTES];
    let opened = File::open(&file).map_err(in_file)?;
    let read = opened.take(HEADER_BYTES as u64).read(&mut header);
    let header = header
        .get(..read.map_err(in_file)?)
        .filter(|header| is_header(header));
    let modified = metadata.modified().map_err(in_file)?;
    if header.ok_or_else(none)?.starts_with(&archive::MAGIC) {
        let input = BufReader::with_capacity(1 << 20, File::open(&file).map_err(in_file)?);
        // Without its key a sealed one is seen to be as it was written.
        let verified = verify(input, None, |_| ()).map_err(|error| mistake(&error.to_string()))?;
        return Ok(Backup {
            form: "a backup of smpctl region backup",
            region: Some(verified.header.region),
            taken_at: finished(verified.header.taken_at.into(), modified),
        });
    }
    Ok(Backup {
        form,
        region: None,
        taken_at: modified,
    })
}

/// A large database takes hours to write, and what it lacks since has to wait for that. A file that was written longer
/// after its snapshot than that is a copy.
fn finished(snapshot: SystemTime, modified: SystemTime) -> SystemTime {
    match modified.duration_since(snapshot) {
        Ok(took) if took <= WRITING_MAX => modified,
        _ => snapshot,
    }
}

fn is_header(header: &[u8]) -> bool {
    header.len() == HEADER_BYTES
        && (header.starts_with(MAGIC) || header.starts_with(&archive::MAGIC))
}

/// What is dated in the future was not written now, whatever else it is.
fn age(modified: SystemTime, now: SystemTime) -> Result<Duration, &'static str> {
    let age = now
        .duration_since(modified)
        .map_err(|_| "it is dated in the future")?;
    if age > AGE_MAX {
        return Err("it is older than an hour");
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::writer::Writer;

    #[test]
    fn a_backup_is_as_old_as_its_end_and_a_copy_as_its_snapshot() {
        let snapshot = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        let later = snapshot + Duration::from_hours(3);
        assert_eq!(finished(snapshot, later), later);
        let copied = snapshot + Duration::from_hours(13);
        assert_eq!(finished(snapshot, copied), snapshot);
        assert_eq!(finished(snapshot, snapshot - AGE_MAX), snapshot);
    }

    #[test]
    fn a_backup_is_of_the_last_hour() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        assert_eq!(age(now, now), Ok(Duration::ZERO));
        assert_eq!(age(now - AGE_MAX, now), Ok(AGE_MAX));
        let older = now - AGE_MAX - Duration::from_secs(1);
        assert!(age(older, now).unwrap_err().contains("older than an hour"));
        let later = now + Duration::from_secs(1);
        assert!(age(later, now).unwrap_err().contains("future"));
    }

    fn ours(taken_at: &str) -> Vec<u8> {
        let header = archive::Header {
            format: archive::FORMAT,
            backup_id: "b".to_owned(),
            region: "smp-us".to_owned(),
            countries: vec!["US".to_owned()],
            taken_at: taken_at.parse().unwrap(),
            smpctl: "0".to_owned(),
            database: "smp".to_owned(),
            server: "18".to_owned(),
            is_sealed: false,
        };
        let manifest = archive::Manifest {
            tables: Vec::new(),
            sequences: Vec::new(),
            migrations: Vec::new(),
        };
        let writer = Writer::begin(Vec::new(), &header, None).unwrap();
        writer.end(&manifest).unwrap().out
    }

    #[test]
    fn only_a_dump_is_a_backup() {
        let folder = std::env::temp_dir().join(format!("smpctl-backup-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("empty")).unwrap();
        fs::create_dir_all(folder.join("dump")).unwrap();
        let dump = b"PGDMP\x01\x10\x00\x04\x08\x01and so on";
        for (name, bytes) in [
            ("custom", &dump[..]),
            ("dump/toc.dat", &dump[..]),
            ("nothing", b""),
            ("cut", b"PGDMP"),
            ("plain", b"--\n-- PostgreSQL database dump\n"),
        ] {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let now = SystemTime::now() + Duration::from_secs(5);
        let judged = |name: &str| read(&folder.join(name));
        assert!(judged("custom").unwrap().age(now).is_ok());
        assert!(judged("dump").is_ok());
        let ours = ours("2026-01-23T02:00:00Z");
        fs::write(folder.join("ours"), &ours).unwrap();
        let found = judged("ours").unwrap();
        assert_eq!(found.region.as_deref(), Some("smp-us"));
        // When the file was copied is no matter.
        assert!(found.age(now + AGE_MAX).unwrap_err().contains("older"));
        for cut in [11, ours.len() / 2, ours.len() - 1] {
            fs::write(folder.join("ours"), &ours[..cut]).unwrap();
            assert!(judged("ours").unwrap_err().contains("cut off"), "{cut}");
        }
        let mut damaged = ours.clone();
        damaged[ours.len() / 2] ^= 1;
        fs::write(folder.join("ours"), damaged).unwrap();
        assert!(judged("ours").is_err());
        for name in [".", "empty", "nothing", "cut", "plain"] {
            assert!(judged(name).unwrap_err().contains("no dump"), "{name}");
        }
        assert!(judged("away").is_err());
        assert!(read(Path::new("/dev/zero")).is_err());
        let early = judged("custom").unwrap().age(SystemTime::UNIX_EPOCH);
        assert!(early.unwrap_err().contains("future"));
        let late = judged("dump").unwrap().age(now + AGE_MAX);
        assert!(late.unwrap_err().contains("older"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
