//! A region is added to the platform that is up, and taken from it: what `kubectl apply` of its two stages does in
//! production, from the same files.
//!
//! Each step first looks what is there. A process is written down once it is ready; what was started and not written
//! down, since somebody killed this program meanwhile, is found by the log that it writes, and is started anew.

mod down;
mod edge;
mod files;
mod services;
mod stores;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use infra::registry::{self, Role};
use nix::sys::signal::Signal;
use protocol::RegionId;

use crate::process::Process;
use crate::process::alive::end_writers;
use crate::process::record::{Record, Records};
use crate::sites::{Site, Sites};
use crate::system::LOCAL;
use crate::{checkout, hand_over, kafka, postgres};

pub use files::Files;

/// A platform that was handed over.
pub struct Platform<'p> {
    run: PathBuf,
    name: String,
    sites: Sites,
    records: Records,
    progress: &'p dyn Fn(&str),
    /// One command at a time.
    _lock: File,
}

/// The regions that a registry has.
pub struct Registry {
    regions: Vec<registry::Region>,
    folder: PathBuf,
}

impl Registry {
    /// Reads the regions' files.
    pub fn read(folder: &Path) -> Result<Self> {
        let regions = registry::read(folder).map_err(|mistakes| anyhow!(mistakes.join("\n")))?;
        Ok(Self {
            regions,
            folder: folder.to_owned(),
        })
    }

    fn find(&self, id: &RegionId) -> Result<&registry::Region> {
        let mut regions = self.regions.iter();
        regions.find(|region| region.id == *id).with_context(|| {
            format!(
                "{}/{id}.toml is not there: write the region's file, or name another folder (--regions)",
                self.folder.display()
            )
        })
    }

    fn hub(&self) -> Result<&RegionId> {
        let mut regions = self.regions.iter();
        let hub = regions.find(|region| region.role == Role::Hub);
        let hub =
            hub.with_context(|| format!("{}: no region is the hub", self.folder.display()))?;
        Ok(&hub.id)
    }

    fn part<'r>(&'r self, region: &registry::Region) -> Result<kafka::Part<'r>> {
        Ok(match region.role {
            Role::Hub => kafka::Part::Hub,
            Role::Spoke => kafka::Part::SpokeOf(self.hub()?),
        })
    }
}

impl<'p> Platform<'p> {
    /// The platform whose files are in a folder below the checkout's `.run/`. Waits until no other command is at work
    /// on it. `progress` hears of each step.
    pub fn open(run: &Path, progress: &'p dyn Fn(&str)) -> Result<Self> {
        let run = run
            .canonicalize()
            .with_context(|| format!("--run {}: 'make up' starts a platform", run.display()))?;
        let name = name_of(&run)?;
        let lock = File::create(run.join("regions.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress("another 'platform region' is at work: waiting for it");
                lock.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let sites = Sites::read(&run)?;
        let sites = sites.with_context(|| {
            format!("no platform is in {}: 'make up' starts one", run.display())
        })?;
        Ok(Self {
            records: Records::of(&run),
            run,
            name,
            sites,
            progress,
            _lock: lock,
        })
    }

    fn say(&self, id: &RegionId, what: &str) {
        (self.progress)(&format!("region {id}: {what}"));
    }

    fn site(&self, id: &RegionId) -> Result<&Site> {
        self.sites.regions.get(id.as_str()).with_context(|| {
            format!(
                "region {id} has no stores here: 'platform region up {id} --stage stores' first"
            )
        })
    }

    fn log(&self, id: &RegionId, what: &str) -> PathBuf {
        let logs = self.run.join("logs");
        logs.join(format!("{}.log", hand_over::name(id, what)))
    }

    /// The name of a region's data, by which those of one checkout are told apart.
    fn data_name(&self, id: &RegionId) -> String {
        format!("{}-{id}", self.name)
    }

    /// A process that runs.
    fn find(&self, id: &RegionId, what: &str) -> Result<Option<Process>> {
        let record = self.records.find(&hand_over::name(id, what))?;
        Ok(record.and_then(|record| Process::find(&format!("{what} of {id}"), record)))
    }

    fn runs(&self, id: &RegionId, what: &str) -> Result<bool> {
        Ok(self.find(id, what)?.is_some())
    }

    /// Writes a process down, which goes on from now on.
    fn keep(&self, id: &RegionId, what: &str, process: &mut Process) -> Result<()> {
        let name = hand_over::name(id, what);
        self.records.write(&name, &process.record())?;
        process.detach();
        Ok(())
    }

    /// Stops a process in order, and whatever else of it was left; gives whether there was anything.
    fn stop(&self, id: &RegionId, what: &str) -> Result<bool> {
        let (signal, patience) = if what == "postgres" {
            (Signal::SIGINT, postgres::STOP_PATIENCE)
        } else {
            (Signal::SIGTERM, kafka::STOP_PATIENCE)
        };
        let mut was_there = false;
        if let Some(mut process) = self.find(id, what)? {
            if what == "postgres" {
                process.stop(patience)?;
            } else {
                process.terminate(patience)?;
            }
            was_there = true;
        }
        was_there |= end_writers(&self.log(id, what), signal, patience);
        self.records.remove(&hand_over::name(id, what))?;
        Ok(was_there)
    }

    /// The broker of a region that is up.
    async fn kafka(&self, id: &RegionId) -> Result<kafka::Kafka> {
        let place = self.site(id)?.kafka.clone();
        let process = self.find(id, "kafka")?;
        let process = process.with_context(|| not_up(id, "Kafka"))?;
        let log = self.log(id, "kafka");
        kafka::Kafka::find(id, &self.name, place, process, &log).await
    }

    /// Something of the platform runs, whatever has died since.
    fn ensure_up(&self) -> Result<()> {
        let records = self.records.all()?;
        ensure!(
            records.values().any(Record::is_alive),
            "the platform in {} is not up: 'make up' starts it",
            self.run.display()
        );
        Ok(())
    }
}

fn not_up(id: &RegionId, what: &str) -> String {
    format!("{what} of {id} does not run: 'platform region up {id} --stage stores' starts it")
}

/// A platform is named by where its files are.
fn name_of(run: &Path) -> Result<String> {
    let home = checkout::run_dir("")?.canonicalize()?;
    let Ok(below) = run.strip_prefix(&home) else {
        bail!(
            "--run {}: a folder in {} is expected, where this checkout's platforms are",
            run.display(),
            home.display()
        );
    };
    let name = below.to_string_lossy();
    Ok(if name.is_empty() {
        LOCAL.to_owned()
    } else {
        name.into_owned()
    })
}

/// Ends whatever a command that was killed has left of a platform's regions, though nobody wrote it down.
pub fn end_what_is_left(run: &Path) -> Result<bool> {
    let Some(sites) = Sites::read(run)? else {
        return Ok(false);
    };
    let mut was_there = false;
    for id in sites.regions.keys() {
        for what in ["mirror", "replicator", "core", "kafka", "postgres"] {
            let log = run.join(format!("logs/{id}-{what}.log"));
            let signal = if what == "postgres" {
                Signal::SIGINT
            } else {
                Signal::SIGTERM
            };
            was_there |= end_writers(&log, signal, kafka::STOP_PATIENCE);
        }
    }
    Ok(was_there)
}

/// Replaces a file that holds no secret, whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let whole = path.with_extension("new");
    fs::write(&whole, text)
        .and_then(|()| fs::rename(&whole, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
