//! `smpctl rotate`: edits the operator's files, has them put in force, and sees that they are, by turns.

mod files;
mod progress;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use infra::edge;
use infra::rotate::probe::{Probe, Seen};
use infra::rotate::{Edit, File, Mistake, Stage, hop, routes, sealing};
use protocol::RegionId;
use protocol::hop::{HopKey, SECRET_MIN_BYTES, SLACK_SECS};
use protocol::routes::Origin;
use protocol::sealed::SealingKey;

use crate::edge_command::Access;
use crate::random;
use files::{EdgeFile, Files, Texts};
use progress::{End, Progress};

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// The secret of the hop from the edge to a region's core.
    ///
    /// The core's file gets a new key, edge.json changes over to it, and the old one goes to
    /// CORE_HOP_RETIRED_SECRETS. After each edit it is seen that the file is in force: the core is asked with the
    /// keys themselves, and tells with which the edge signs. Run the same command again after any interruption: what
    /// was done is seen from the files and not done again. It exits with 0 once the new key is the only one.
    #[command(after_help = "Example:\n  \
        smpctl rotate --edge https://edge.example.com hop --region smp-asia --to smp-asia-2 \\\n    \
        --core-file ~/smp-secrets/smp-asia/core.env --edge-file ~/smp-secrets/edge.json \\\n    \
        --apply-core 'ssh core.smp-asia sudo systemctl restart regional-core' \\\n    \
        --apply-edge 'npx wrangler secret bulk ~/smp-secrets/edge.json --env=\"\"'")]
    Hop {
        /// The Worker's secrets, as `wrangler secret bulk` takes them.
        #[arg(long, value_name = "FILE")]
        edge_file: PathBuf,
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
    /// The key to which a region's records are sealed while they wait at the edge.
    ///
    /// The core's file gets the private half of a new pair, wrangler.toml the public one and a higher version, and
    /// the old private half is removed when nothing waits, or lies parked, that may have been sealed to it: it opens
    /// those records and nothing else does. After each edit it is seen that the file is in force. Run the same
    /// command again after any interruption. It exits with 0 once the new key is the only one.
    #[command(after_help = "Example:\n  \
        smpctl rotate --edge https://edge.example.com --token-file ~/smp-secrets/ops-token sealing \\\n    \
        --region smp-asia --to smp-asia-2 --core-file ~/smp-secrets/smp-asia/core.env \\\n    \
        --apply-core 'ssh core.smp-asia sudo systemctl restart regional-core' \\\n    \
        --apply-edge 'npx wrangler deploy --env=\"\"'")]
    Sealing {
        #[command(flatten)]
        arguments: Box<Arguments>,
    },
}

/// What both kinds need.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The region.
    #[arg(long)]
    region: RegionId,
    /// The name of the new key. Without it a free one is named, and nothing is done.
    #[arg(long, value_name = "NAME", value_parser = read_name)]
    to: Option<String>,
    /// The environment of the region's cores: KEY=value lines, values as they are or in single quotes.
    #[arg(long, value_name = "FILE")]
    core_file: PathBuf,
    /// What puts the core's file in force, and waits until every core has it. Without it the command stops after
    /// each edit of that file, says so, and goes on when it is run again.
    #[arg(long, value_name = "COMMAND")]
    apply_core: Option<String>,
    /// The same for the edge.
    #[arg(long, value_name = "COMMAND")]
    apply_edge: Option<String>,
    /// The Worker's configuration.
    #[arg(long, default_value = "wrangler.toml", value_name = "FILE")]
    wrangler: PathBuf,
    /// Which of its environments this is.
    #[arg(long, default_value = "production")]
    environment: String,
    /// Where the region's core is asked, if that is not the route's origin.
    #[arg(long, value_name = "URL", value_parser = Origin::parse)]
    core_url: Option<Origin>,
    /// How long to wait for one thing.
    #[arg(long, default_value_t = 600)]
    patience_secs: u64,
    /// How long the edge must have been seen with the new key alone before the old one is taken from the core:
    /// Cloudflare brings a change everywhere within seconds, and a signature is good for 60.
    #[arg(long, default_value_t = SLACK_SECS)]
    settle_secs: u64,
    /// Show every step that is left, and change and ask nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON at the end; the progress goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Both kinds of key take the same names.
fn read_name(text: &str) -> Result<String, String> {
    HopKey::new(text, &[b'0'; SECRET_MIN_BYTES])
        .map(|key| key.keyid().to_owned())
        .map_err(|error| error.to_string())
}

/// Runs one of them.
pub(crate) fn run(action: Action, access: &Access) -> ExitCode {
    let (edge_file, arguments) = match action {
        Action::Hop {
            edge_file,
            arguments,
        } => (Some(edge_file), arguments),
        Action::Sealing { arguments } => (None, arguments),
    };
    let edge_file = match &edge_file {
        Some(secrets) => EdgeFile::Secrets(secrets),
        None => EdgeFile::Routes(&arguments.wrangler),
    };
    let mut progress = Progress::new(arguments.json);
    let outcome =
        Work::begin(&arguments, edge_file, access).and_then(|work| work.run(&mut progress));
    progress.show(&outcome)
}

/// A rotation of either kind.
enum Rotation<'a> {
    Hop(hop::Rotation<'a>),
    Sealing(sealing::Rotation<'a>),
}

#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Standing {
    Hop(hop::Standing),
    Sealing(sealing::Standing),
}

impl Rotation<'_> {
    fn standing(&self, texts: &Texts) -> Result<Standing, Mistake> {
        Ok(match self {
            Self::Hop(rotation) => Standing::Hop(rotation.standing(&texts.core, &texts.edge)?),
            Self::Sealing(rotation) => {
                Standing::Sealing(rotation.standing(&texts.core, &texts.edge)?)
            }
        })
    }

    fn next_edit(&self, texts: &Texts, randomness: &[u8; 32]) -> Result<Option<Edit>, Mistake> {
        match self {
            Self::Hop(rotation) => rotation.next_edit(&texts.core, &texts.edge, randomness),
            Self::Sealing(rotation) => rotation.next_edit(&texts.core, &texts.edge, randomness),
        }
    }
}

impl Standing {
    fn stage(&self) -> Stage {
        match self {
            Self::Hop(standing) => standing.stage,
            Self::Sealing(standing) => standing.stage,
        }
    }

    /// What is to go, or went last, by name.
    fn old(&self, to: &str) -> String {
        match self {
            Self::Hop(standing) => {
                let old = standing.old.as_ref().or(standing.retired.as_ref());
                old.map_or_else(String::new, |key| key.keyid().to_owned())
            }
            Self::Sealing(standing) => {
                let keys = standing.opens.iter().map(SealingKey::keyid);
                let old: Vec<_> = keys.filter(|keyid| *keyid != to).collect();
                old.join(" and ")
            }
        }
    }
}

/// A rotation with all that it takes.
struct Work<'a> {
    arguments: &'a Arguments,
    to: &'a str,
    rotation: Rotation<'a>,
    files: Files,
    probe: Probe<'a>,
    /// By which it is seen what waits; the hop's secret needs it not.
    ops: Option<edge::Client>,
}

impl<'a> Work<'a> {
    fn begin(
        arguments: &'a Arguments,
        edge_file: EdgeFile<'_>,
        access: &Access,
    ) -> Result<Self, String> {
        let is_hop = matches!(edge_file, EdgeFile::Secrets(_));
        let files = Files::open(&arguments.core_file, edge_file, !arguments.dry_run)?;
        let wrangler = infra::files::read(&arguments.wrangler)?;
        let routes = routes(&wrangler, &arguments.environment)
            .map_err(|mistake| format!("{}: {}", arguments.wrangler.display(), mistake.text))?;
        let (core, region) = (arguments.core_url.clone(), &arguments.region);
        let Some(to) = arguments.to.as_deref() else {
            return Err(no_name(arguments, &files, is_hop));
        };
        Ok(Self {
            arguments,
            to,
            rotation: rotation(arguments, to, is_hop),
            files,
            probe: Probe::new(region, &routes, core, &access.origin()?)?,
            ops: if is_hop { None } else { Some(access.client()?) },
        })
    }

    fn run(&self, progress: &mut Progress) -> Result<End, String> {
        if let (Some(ops), false) = (&self.ops, self.arguments.dry_run) {
            // Better now than when all but the last step is done.
            ops.status()?;
        }
        loop {
            let texts = self.files.read()?;
            let standing = self.standing(&texts)?;
            if self.arguments.dry_run {
                self.show_steps(&standing, progress);
                return Ok(End::Shown);
            }
            if let Some(to_do) = self.bring_into_force(&standing, progress)? {
                return Ok(End::ToDo(to_do));
            }
            if standing.stage() == Stage::CoreHasNew {
                return Ok(End::Done(format!(
                    "{} is the only key of {} now",
                    self.to, self.arguments.region
                )));
            }
            self.edit(&texts, &standing, progress)?;
        }
    }

    fn standing(&self, texts: &Texts) -> Result<Standing, String> {
        let standing = self.rotation.standing(texts);
        standing.map_err(|mistake| self.files.name(&mistake))
    }

    /// Sees that what the files say is in force, and has it put in force if it is not. Gives what has to be done by
    /// hand, if nobody said how.
    fn bring_into_force(
        &self,
        standing: &Standing,
        progress: &mut Progress,
    ) -> Result<Option<String>, String> {
        let stage = standing.stage();
        if stage == Stage::Begin {
            return match self.look(standing) {
                Seen::InForce => Ok(None),
                Seen::NotYet(why) | Seen::Never(why) => Err(format!(
                    "what the files say is not in force, so nothing is begun: {why}"
                )),
            };
        }
        progress.step(stage.step(), &self.step(stage.step(), standing));
        match self.look(standing) {
            Seen::InForce => {}
            Seen::Never(why) => return Err(why),
            Seen::NotYet(why) => {
                let Some((option, command)) = self.apply(stage) else {
                    return Ok(Some(self.by_hand(stage, &why)));
                };
                self.run_command(option, command, progress)?;
                self.wait_for(Duration::ZERO, progress, |_| self.look(standing))?;
            }
        }
        if stage == Stage::EdgeHasNew {
            self.wait_until_settled(standing, progress)?;
        }
        progress.end_step();
        Ok(None)
    }

    /// Waits until nobody needs the old key: neither what the edge signs or seals, nor what was sealed before.
    fn wait_until_settled(
        &self,
        standing: &Standing,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let settle = Duration::from_secs(self.arguments.settle_secs);
        self.wait_for(settle, progress, |_| self.look(standing))?;
        let Some(ops) = &self.ops else {
            return Ok(());
        };
        progress.note("the edge seals to the new key alone; what waits is looked at now");
        // A shard that was cut off by the deployment may take a minute to tell again what it holds.
        let look = |since: Duration| self.probe.nothing_older_waits(ops, since);
        self.wait_for(settle, progress, look)
    }

    fn look(&self, standing: &Standing) -> Seen {
        match standing {
            Standing::Hop(standing) => self.probe.hop(standing),
            Standing::Sealing(standing) => self.probe.sealing(standing),
        }
    }

    /// Waits until a thing is seen, each time for so long. `look` is told how long it has been waited for.
    fn wait_for(
        &self,
        hold: Duration,
        progress: &mut Progress,
        look: impl Fn(Duration) -> Seen,
    ) -> Result<(), String> {
        let patience = Duration::from_secs(self.arguments.patience_secs) + hold;
        let started = Instant::now();
        let mut seen_since = None;
        loop {
            match look(started.elapsed()) {
                Seen::InForce => {
                    let since = *seen_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= hold {
                        return Ok(());
                    }
                    progress.waits("so it is, and it has to last", since.elapsed(), hold);
                }
                Seen::NotYet(why) => {
                    seen_since = None;
                    if started.elapsed() >= patience {
                        let secs = patience.as_secs();
                        return Err(format!(
                            "{why}, and {secs} s are over; run this again to go on"
                        ));
                    }
                    progress.waits(&why, started.elapsed(), patience);
                }
                Seen::Never(why) => return Err(why),
            }
            std::thread::sleep(POLL);
        }
    }

    fn apply(&self, stage: Stage) -> Option<(&'static str, &str)> {
        let (option, command) = match stage {
            Stage::EdgeHasNew => ("--apply-edge", &self.arguments.apply_edge),
            _ => ("--apply-core", &self.arguments.apply_core),
        };
        Some((option, command.as_deref()?))
    }

    fn by_hand(&self, stage: Stage, why: &str) -> String {
        let file = match (stage, &self.rotation) {
            (Stage::EdgeHasNew, Rotation::Hop(_)) => {
                let file = self.files.path(File::Edge).display();
                format!("give the edge {file} (npx wrangler secret bulk)")
            }
            (Stage::EdgeHasNew, Rotation::Sealing(_)) => {
                let file = self.files.path(File::Edge).display();
                format!("deploy {file} (npx wrangler deploy)")
            }
            _ => {
                let file = self.files.path(File::Core).display();
                format!("give every core {file}, and restart it")
            }
        };
        format!("{file}, then run this again: {why}")
    }

    /// Its output goes to standard error. It is left running if it takes too long: half of what it does would be
    /// worse.
    fn run_command(
        &self,
        option: &str,
        command: &str,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let started = Instant::now();
        let patience = Duration::from_secs(self.arguments.patience_secs);
        let in_command = |error: std::io::Error| format!("{option}: {error}");
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .spawn()
            .map_err(in_command)?;
        loop {
            if let Some(status) = child.try_wait().map_err(in_command)? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!(
                        "{option} ended with {status}; mend it and run this again to go on"
                    ))
                };
            }
            if started.elapsed() >= patience {
                return Err(format!(
                    "{option} has not ended within {} s and still runs (process {}); run this again once it has",
                    patience.as_secs(),
                    child.id()
                ));
            }
            progress.waits(&format!("{option} runs"), started.elapsed(), patience);
            std::thread::sleep(POLL / 10);
        }
    }

    /// Makes the next edit, unless somebody has changed the file meanwhile.
    fn edit(
        &self,
        texts: &Texts,
        standing: &Standing,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let edit = self.rotation.next_edit(texts, &random()?);
        let Some(edit) = edit.map_err(|mistake| self.files.name(&mistake))? else {
            return Ok(());
        };
        if self.files.read()? != *texts {
            progress.note("a file was changed meanwhile: it is read again");
            return Ok(());
        }
        let number = standing.stage().step() + 1;
        progress.step(number, &self.step(number, standing));
        self.files.write(&edit)?;
        progress.end_step();
        Ok(())
    }

    fn show_steps(&self, standing: &Standing, progress: &mut Progress) {
        let first = match standing.stage() {
            Stage::Begin => 1,
            stage => stage.step(),
        };
        for number in first..=infra::rotate::STEPS {
            progress.step(number, &self.step(number, standing));
            let stage = match number {
                2 => Stage::CoreHasBoth,
                4 => Stage::EdgeHasNew,
                6 => Stage::CoreHasNew,
                _ => continue,
            };
            progress.note(&match self.apply(stage) {
                Some((option, command)) => format!("unless it is so already, {option}: {command}"),
                None => format!(
                    "unless it is so already, it stops: {}",
                    self.by_hand(stage, "it is not so")
                ),
            });
        }
    }

    /// What a step does, or what it waits for.
    fn step(&self, number: usize, standing: &Standing) -> String {
        let (core, edge) = (
            self.files.path(File::Core).display(),
            self.files.path(File::Edge).display(),
        );
        let (region, new, old) = (&self.arguments.region, self.to, standing.old(self.to));
        let settle = self.arguments.settle_secs;
        match (&self.rotation, number) {
            (Rotation::Hop(_), 1) => format!("{core}: CORE_HOP_SECRETS gets {new} beside {old}"),
            (Rotation::Hop(_), 2) => format!("the core takes {old} and {new}"),
            (Rotation::Hop(_), 3) => format!("{edge}: HOP_SECRETS of {region} becomes {new}"),
            (Rotation::Hop(_), 4) => format!("the edge signs with {new} alone, for {settle} s"),
            (Rotation::Hop(_), 5) => {
                format!("{core}: {old} goes from CORE_HOP_SECRETS to CORE_HOP_RETIRED_SECRETS")
            }
            (Rotation::Hop(_), _) if old.is_empty() => format!("the core takes {new} alone"),
            (Rotation::Hop(_), _) => format!("the core takes {new} alone, and not {old} any more"),
            (Rotation::Sealing(_), 1) => {
                format!("{core}: CORE_OPENING_KEYS gets {new} beside {old}")
            }
            (Rotation::Sealing(_), 2) => {
                format!("the core opens what is sealed to {old} and to {new}")
            }
            (Rotation::Sealing(_), 3) => {
                format!("{edge}: sealing_key of {region} becomes {new}, and version is raised")
            }
            (Rotation::Sealing(_), 4) => format!(
                "the edge seals to {new} alone, for {settle} s; then nothing waits that came before, for {settle} s"
            ),
            (Rotation::Sealing(_), 5) => format!("{core}: CORE_OPENING_KEYS loses {old}"),
            (Rotation::Sealing(_), _) => format!("the core opens what is sealed to {new} alone"),
        }
    }
}

fn rotation<'a>(arguments: &'a Arguments, to: &'a str, is_hop: bool) -> Rotation<'a> {
    let region = &arguments.region;
    if is_hop {
        return Rotation::Hop(hop::Rotation { region, to });
    }
    Rotation::Sealing(sealing::Rotation {
        region,
        to,
        environment: &arguments.environment,
    })
}

/// A name that nobody gave is not made up: whoever runs the command once more than needed would begin anew.
fn no_name(arguments: &Arguments, files: &Files, is_hop: bool) -> String {
    let texts = match files.read() {
        Ok(texts) => texts,
        Err(error) => return error,
    };
    let free = if is_hop {
        hop::propose(&texts.core)
    } else {
        sealing::propose(&texts.core)
    };
    let standing = free.and_then(|free| {
        // Names the rotation that is under way, if one is.
        rotation(arguments, &free, is_hop).standing(&texts)?;
        Ok(format!("which key is it to be? --to {free} is free"))
    });
    standing.unwrap_or_else(|mistake| files.name(&mistake))
}
