//! `smpctl region`: a region is added, opened and removed; its database in a file, and back.

mod about;
mod add;
mod backup;
mod checklist;
mod database;
mod doctor;
mod load;
mod members;
mod open;
mod remove;
mod report;
mod restore;
mod sign_off;
pub(crate) mod site;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::backup::progress::Meter;
use infra::backup::reader::{Verified, verify};
use infra::registry::{self, Region};
use protocol::RegionId;
use protocol::at_rest::AtRestKeys;
use serde_json::json;

use crate::edge_command::{from_environment, read_secret};
use crate::{one_line, print_or_fail};

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// Open a new region: its file, what is rendered of it, its keys, its database and services, master data, its route
    /// (paused), and an event through the edge.
    ///
    /// Without --yes it shows what it would write and do. On a terminal it asks for what no flag says. With --yes it does
    /// what is not done yet, in order, each step seen in the files and services themselves: whatever interrupts it, the
    /// same command goes on. In the end comes the checklist of 'smpctl region doctor'. Nothing is opened.
    #[command(after_help = "Examples:\n  \
        smpctl region add smp-us --name 'United States' --countries US --provider AWS --place 'us-west-2 (Oregon)' \\\n    \
        --domain smp-us.example.com --storage-class gp3 --leaves-from 198.51.100.30/32              # looks only\n  \
        smpctl region add smp-us --apply tools/apply-region.sh --yes            # goes on by the file that is there\n  \
        smpctl region add smp-us --local --yes                                  # the platform of make up")]
    Add(Box<add::Add>),
    /// What a region lacks before it may serve, or lacks by now, each line with the command that mends it.
    ///
    /// It changes nothing, but that each country's core is sent one record of its own, always the same, which it keeps
    /// once. Exits with 1 if anything is missing.
    #[command(after_help = "Examples:\n  \
        smpctl region doctor smp-us\n  \
        smpctl region doctor --json | jq '.regions[] | select(.is_well | not)'")]
    Doctor(Box<doctor::Doctor>),
    /// Record that counsel has looked at a region and agrees that it serves.
    ///
    /// What they agree to are its terms: countries, place, operator, laws, licences, and whether records may wait abroad.
    /// If one of them
    /// changes later, no country is opened there until it was recorded again; a region that serves again after a pause
    /// does not wait for that.
    #[command(after_help = "Example:\n  \
        smpctl region sign-off smp-china --by 'Jane Roe, DPO' --reference LEGAL-42 --granted 'ICP filing' --yes")]
    SignOff(Box<sign_off::Agree>),
    /// Let the traffic of a region through, once nothing is missing and counsel has agreed.
    #[command(after_help = "Example:\n  \
        smpctl region open smp-us --why 'the United States begin' --yes")]
    Open(Box<open::Open>),
    /// Take a region out of service for good. No other region notices.
    ///
    /// Without --yes it says what would be done, and what stands in the way: an open route, records that wait at the
    /// edge, no backup. Its database's volume and its secrets stay. Whatever interrupts it, the same command goes on.
    #[command(after_help = "Example:\n  \
        smpctl region remove smp-us --why 'the United States move to smp-na' --backup smp-us-20261103T020000Z.smpbackup --yes")]
    Remove(Box<remove::Remove>),
    /// Write all of a region's database into one file, as it is at one moment, while everybody works on.
    ///
    /// The file holds personal data of the region's people: it is for its owner only, is sealed with the first of
    /// SMP_BACKUP_KEYS, and must stay in the region. Every schema but the server's own is in it, each table with its count
    /// and digest, sequences, and the versions of the migrations; roles and passwords are not.
    ///
    /// Needs CORE_OWNER_DATABASE_URL (as core_owner) and, where master data is, REPLICATOR_OWNER_DATABASE_URL (as
    /// master_data_owner). Changes nothing there. Until it ends, migrations of the schema wait and give up.
    #[command(after_help = "Examples:\n  \
        smpctl at-rest-key --name backup-2026-11 --key backup.key\n  \
        smpctl region backup smp-asia --into /backups --keys-file backup.key\n  \
        smpctl region backup smp-asia --into now.smpbackup --json | jq .sha256")]
    Backup {
        #[command(flatten)]
        whose: Whose,
        /// The file, or a folder in which the file is named after region and moment. Nothing is written over.
        #[arg(long, value_name = "FILE|FOLDER")]
        into: PathBuf,
        #[command(flatten)]
        keys: Keys,
        /// Do not seal it: whoever can read the file reads all of it.
        #[arg(long, conflicts_with = "keys_file")]
        unsealed: bool,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Bring a backup back into an empty database of its region, and prove that all of it is there.
    ///
    /// Without --yes it reads all of the file, looks at the database, and shows both. With --yes it makes roles,
    /// database and schema, at the backup's own version ('regional-core bootstrap' and 'migrate', 'replicator
    /// provision' and 'migrate'), loads all tables in one transaction, compares each table's count and digest, and
    /// only then commits. Killed at any moment, run it again. Nothing is ever dropped or written over: a database that
    /// somebody has worked with is refused, and one that has all of the backup already is only compared. Exits with 1 if
    /// anything differs, and says what.
    ///
    /// Needs the members' variables: CORE_ADMIN_DATABASE_URL, CORE_OWNER_DATABASE_URL, CORE_DATABASE_URL, in the hub
    /// CORE_EDITOR_DATABASE_URL, and REPLICATOR_ADMIN_DATABASE_URL (the same database), REPLICATOR_OWNER_DATABASE_URL,
    /// REPLICATOR_RELAY_DATABASE_URL, REPLICATOR_APPLIER_DATABASE_URL.
    #[command(after_help = "Examples:\n  \
        smpctl region restore smp-asia --from smp-asia-20261103T020000Z.smpbackup --keys-file backup.key\n  \
        smpctl region restore smp-asia --from smp-asia-20261103T020000Z.smpbackup --keys-file backup.key --yes")]
    Restore {
        #[command(flatten)]
        whose: Whose,
        /// The backup.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        #[command(flatten)]
        keys: Keys,
        /// The program that makes the core's schema.
        #[arg(long, default_value = "regional-core", value_name = "PROGRAM")]
        core: PathBuf,
        /// The program that makes the schema of master data.
        #[arg(long, default_value = "replicator", value_name = "PROGRAM")]
        replicator: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// See that a backup is whole, without a database: every byte, every table's count and digest.
    ///
    /// Without its key a sealed one is only seen to be as it was written. Exits with 1 if it is not.
    #[command(after_help = "Example:\n  \
        smpctl region verify-backup smp-asia-20261103T020000Z.smpbackup --keys-file backup.key")]
    VerifyBackup {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        keys: Keys,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
}

/// What is said of a change of the routes, and whether it is made.
#[derive(Args)]
pub(crate) struct Say {
    /// Why, for whoever reads the history.
    #[arg(long, value_parser = one_line)]
    why: String,
    /// Who; else whoever is logged in.
    #[arg(long)]
    by: Option<String>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Print JSON in place of lines.
    #[arg(long)]
    json: bool,
}

/// Whose database.
#[derive(Args)]
pub(crate) struct Whose {
    /// The region.
    region: RegionId,
    /// The folder of the region registry.
    #[arg(long, default_value = "infra/regions")]
    regions: PathBuf,
}

/// By which keys.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Keys {
    /// The file of the key, as 'smpctl at-rest-key' writes it, or of a JSON array of keys, the first of which seals;
    /// else the environment's SMP_BACKUP_KEYS, such an array. Keep them elsewhere than the backups: without its key a
    /// backup is nothing.
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
}

/// Runs one of them.
pub(crate) fn run(action: Action) -> ExitCode {
    match act(action) {
        Ok((text, is_well)) => {
            let printed = print_or_fail(Ok(text));
            if is_well { printed } else { ExitCode::FAILURE }
        }
        Err(mistake) => print_or_fail(Err(mistake)),
    }
}

/// What to print, and whether all is well.
fn act(action: Action) -> Result<(String, bool), String> {
    match action {
        Action::Add(add) => add::run(&add),
        Action::Doctor(doctor) => doctor::run(&doctor),
        Action::SignOff(agree) => sign_off::run(&agree),
        Action::Open(open) => open::run(&open),
        Action::Remove(remove) => remove::run(&remove),
        Action::Backup {
            whose,
            into,
            keys,
            unsealed,
            json,
        } => {
            let keys = match (keys.read()?, unsealed) {
                (Some(keys), false) => Some(keys),
                (_, true) => None,
                (None, false) => {
                    return Err(
                        "which key seals it? --keys-file or SMP_BACKUP_KEYS says it ('smpctl at-rest-key' makes \
                         one); --unsealed does without"
                            .to_owned(),
                    );
                }
            };
            let done = backup::run(&whose.find()?, &into, keys)?;
            Ok((report::of_backup(&done, json), true))
        }
        Action::VerifyBackup { file, keys, json } => {
            let verified = read_all(&file, keys.read()?.as_ref())?;
            Ok((report::of_file(&file, &verified, json), true))
        }
        Action::Restore {
            whose,
            from,
            keys,
            core,
            replicator,
            yes,
            json,
        } => {
            let region = whose.find()?;
            let programs = members::Programs { core, replicator };
            let keys = keys.read()?;
            let outcome = restore::run(&region, &from, keys.as_ref(), &programs, yes)?;
            Ok((report::of_restore(&from, &outcome, json), outcome.is_well()))
        }
    }
}

impl Whose {
    fn find(&self) -> Result<Region, String> {
        let registry = registry::survey(&self.regions);
        match registry.find(&self.region) {
            Some(region) => Ok(region.clone()),
            None if registry.mistakes.is_empty() => Err(format!(
                "{} is not in the registry, {}",
                self.region,
                self.regions.display()
            )),
            None => Err(registry.mistakes.join("; ")),
        }
    }
}

impl Keys {
    fn read(&self) -> Result<Option<AtRestKeys>, String> {
        let (place, text) = match &self.keys_file {
            Some(path) => (path.display().to_string(), Some(read_secret(path)?)),
            None => (
                "SMP_BACKUP_KEYS".to_owned(),
                from_environment("SMP_BACKUP_KEYS"),
            ),
        };
        let Some(text) = text else {
            return Ok(None);
        };
        // What `smpctl at-rest-key` writes is an element of the array.
        let document = if text.starts_with('[') {
            text
        } else {
            json!([text]).to_string()
        };
        AtRestKeys::from_json(&document)
            .map(Some)
            .map_err(|error| format!("{place}: {error}"))
    }
}

fn open(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Reads all of a backup, and sees that it is whole.
fn read_all(file: &Path, keys: Option<&AtRestKeys>) -> Result<Verified, String> {
    let input = open(file)?;
    let length = input.metadata().map(|metadata| metadata.len());
    let mut meter = Meter::new("read", "bytes", length.unwrap_or_default());
    let input = BufReader::with_capacity(1 << 20, input);
    let verified = verify(input, keys, |bytes| meter.at(bytes))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    meter.end(verified.bytes);
    Ok(verified)
}

/// What drives the connections.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
}
