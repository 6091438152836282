//! `smpctl route`: shows the routes, changes them in one step, and takes that step back.

mod access;
pub(crate) mod checks;
mod confirm;
pub(crate) mod deploy;
mod past;
pub(crate) mod report;
mod show;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::files::{Readers, lock, replace};
use infra::registry;
use infra::route::edit::{self, Edited};
use infra::route::history::{self, Entry, Past, Withdrawal};
use infra::route::{Goal, State, Target, moved};
use jiff::Timestamp;
use nix::unistd::{Uid, User};
use protocol::{Country, RegionId};
use serde_json::{Value, json};

use crate::edge_command::{Access, from_environment};
use crate::{one_line, print_or_fail, random};
use checks::Check;
pub(crate) use checks::{judge_core, judge_tables, metrics, readyz};
use confirm::confirm;
pub(crate) use deploy::Deployment;
use past::{read_history, write_down};
pub(crate) use report::Report;
use show::{show, show_history};

/// How long the edge may take to confirm a change.
const CONFIRMED_SECS: u64 = 60;

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Each country's route, as wrangler.toml says and as the edge has it.
    #[command(after_help = "Example:\n  smpctl route show --json | jq .routes")]
    Show {
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Send a country's requests to another region.
    ///
    /// Looks first whether that region lists the country, is healthy, has its schema and the same master data, and which
    /// of the last hour's requests would have gone elsewhere. Without --yes that is all. With it: edits wrangler.toml,
    /// raises its version, deploys, and waits until the edge itself answers with the new version and leads there.
    #[command(after_help = "Examples:\n  \
        smpctl route flip PH --to smp-asia --why 'PH moves to Singapore'          # looks only\n  \
        smpctl route flip PH --to smp-asia --why 'PH moves to Singapore' --yes\n  \
        smpctl route --local flip PH --to smp-asia --why trial --yes              # the platform of make up")]
    Flip {
        /// The country.
        country: Country,
        /// Its region from then on.
        #[arg(long, value_name = "REGION")]
        to: RegionId,
        #[command(flatten)]
        act: Act,
    },
    /// Stop the traffic of a region, or of one country. What a region's spool takes waits; all else hears 503.
    #[command(
        after_help = "Example:\n  smpctl route pause smp-asia --why 'database maintenance' --yes"
    )]
    Pause {
        /// A region (smp-asia), or a country in capitals (VN): that one's records do not wait, they hear 503.
        target: Target,
        #[command(flatten)]
        act: Act,
    },
    /// Let the traffic of a region, or of one country, through again.
    #[command(
        after_help = "Example:\n  smpctl route open smp-asia --why 'maintenance is over' --yes"
    )]
    Open {
        /// A region (smp-asia), or a country in capitals (VN).
        target: Target,
        #[command(flatten)]
        act: Act,
    },
    /// Put in force what wrangler.toml says, and wait until the edge itself says so. No route is changed.
    ///
    /// For a file that came from somebody else's checkout, or was changed by hand with its version raised.
    #[command(
        after_help = "Example:\n  smpctl route deploy --why 'the routes as they were merged' --yes"
    )]
    Deploy {
        #[command(flatten)]
        act: Act,
    },
    /// Take the last change back: the routes are again what they were before it, with a higher version.
    ///
    /// Run it again to take back the change before that. It looks at no region's health: what was there before it is
    /// known to have worked.
    #[command(
        after_help = "Example:\n  smpctl route revert --why 'CN is slow since the flip' --yes"
    )]
    Revert {
        #[command(flatten)]
        act: Act,
    },
    /// Who changed what, when and why; the latest last.
    #[command(after_help = "Example:\n  smpctl route history --json | jq '.[-1]'")]
    History {
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
}

/// Which files, and which deployment.
#[derive(Args)]
pub(crate) struct Place {
    /// The Worker's configuration.
    #[arg(
        long,
        global = true,
        default_value = "wrangler.toml",
        value_name = "FILE"
    )]
    pub(crate) wrangler: PathBuf,
    /// Which of its environments.
    #[arg(long, global = true, default_value = "production")]
    pub(crate) environment: String,
    /// The folder of the region registry.
    #[arg(
        long,
        global = true,
        default_value = "infra/regions",
        value_name = "FOLDER"
    )]
    pub(crate) regions: PathBuf,
    /// Where changes are written down; else infra/history/routes.jsonl, or routes.jsonl of the platform's folder.
    #[arg(long, global = true, value_name = "FILE")]
    history: Option<PathBuf>,
    /// What deploys wrangler.toml; else npx wrangler deploy.
    #[arg(long, global = true, value_name = "COMMAND", conflicts_with = "local")]
    deploy: Option<String>,
    /// The platform on this machine, whose files are in this folder (.run), takes the place of Cloudflare.
    #[arg(long, global = true, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".run", require_equals = true)]
    pub(crate) local: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// What every change needs.
#[derive(Args)]
pub(crate) struct Act {
    /// Why, for whoever reads the history.
    #[arg(long, value_parser = one_line)]
    pub(crate) why: String,
    /// Who; else whoever is logged in.
    #[arg(long, value_parser = one_line)]
    by: Option<String>,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do it whatever the checks say. A core refuses a country that is not its own all the same.
    #[arg(long)]
    force: bool,
    /// How long the edge may take to confirm it.
    #[arg(long, default_value_t = CONFIRMED_SECS, value_name = "SECONDS")]
    pub(crate) patience_secs: u64,
    /// Print JSON in place of lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs one of them.
pub(crate) fn run(action: Action, place: &Place) -> ExitCode {
    match action {
        Action::Show { json } => print_or_fail(show(place, json)),
        Action::History { json } => print_or_fail(show_history(place, json)),
        Action::Flip { country, to, act } => change(place, &act, Some(Goal::Flip(country, to))),
        Action::Pause { target, act } => {
            change(place, &act, Some(Goal::State(target, State::Paused)))
        }
        Action::Open { target, act } => change(place, &act, Some(Goal::State(target, State::Open))),
        Action::Deploy { act } => change(place, &act, Some(Goal::Deploy)),
        Action::Revert { act } => change(place, &act, None),
    }
}

fn change(place: &Place, act: &Act, goal: Option<Goal>) -> ExitCode {
    let report = match try_change(place, act, goal) {
        Ok(report) => report,
        Err(mistake) => return print_or_fail(Err(mistake)),
    };
    let text = if act.json {
        format!("{:#}\n", json!(report))
    } else {
        report.lines()
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    let is_well = act.force || report.is_well();
    if report.is_done || (!act.yes && is_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Looks and, with `--yes`, changes the routes, and waits until the edge itself says so.
pub(crate) fn try_change(place: &Place, act: &Act, goal: Option<Goal>) -> Result<Report, String> {
    let file = place.wrangler.canonicalize();
    let file = file.map_err(|error| format!("{}: {error}", place.wrangler.display()))?;
    // Whoever has it is the only one: of two flips at once one would be lost.
    let _alone = lock(file.parent().unwrap_or(&file))?;
    let deployment = Deployment::of(place)?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let past = read_history(&place.history_file())?;
    let (goal, taken_back) = match goal {
        Some(goal) => (goal, TakenBack::Nothing),
        None => last_change(&past, &text, &place.environment)?,
    };
    let at_edge = checks::at_edge(&deployment, &place.access, &text, &place.environment);
    let above = at_edge.as_ref().copied().unwrap_or_default();
    let edited = edit::reach_above(&text, &place.environment, &goal, above)
        .map_err(|mistake| format!("{}: {mistake}", file.display()))?;
    let has_served =
        |region: &RegionId| history::has_served(&past, &place.environment, region.as_str());
    let mut report = look(place, &deployment, &goal, (&text, &edited), has_served);
    report.checks.push(checks::edge(at_edge, &edited.before));
    if let TakenBack::Change(Past { entry, confirmed }) = &taken_back {
        if confirmed.is_some() {
            let back = checks::comes_back(&edited.before, &edited.after);
            report.checks.extend(back);
        }
        report.reverts = Some(format!(
            "'{}' of {:.0} by {} ({})",
            entry.action, entry.at, entry.by, entry.why
        ));
    }
    if !act.yes {
        report.said = match &taken_back {
            TakenBack::NeverMade(entry) if act.force || report.is_well() => {
                format!("{}; --yes strikes it out", never_made(entry))
            }
            TakenBack::Nothing if edited.changes.is_empty() && goal != Goal::Deploy => {
                "it is so already".to_owned()
            }
            _ if act.force || report.is_well() => "nothing was changed: --yes does it".to_owned(),
            _ => "nothing was changed, nor would be with --yes: mend what is WRONG above, or say --force"
                .to_owned(),
        };
        return Ok(report);
    }
    // Where nobody can confirm it, nothing is changed.
    deployment.edge_origin(&place.access)?;
    if !act.force && !report.is_well() {
        let said = "nothing was changed: mend what is WRONG above, or say --force".to_owned();
        return Ok(Report { said, ..report });
    }
    let entry = if edited.changes.is_empty() {
        // It was cut off: what was begun is brought to its end.
        let cut_off = history::cut_off(&past, &place.environment, &edited.after);
        cut_off.map(|past| past.entry.clone())
    } else {
        let to_make = Entry {
            id: uuid_v7()?,
            at: Timestamp::now(),
            by: act.who()?,
            why: act.why.clone(),
            environment: place.environment.clone(),
            action: goal.to_string(),
            version: edited.after.version(),
            changes: edited.changes.clone(),
            reverts: match &taken_back {
                TakenBack::Change(past) => Some(past.entry.id.clone()),
                TakenBack::Nothing | TakenBack::NeverMade(_) => None,
            },
        };
        let entry = if let Some(begun) = history::begun(&past, &to_make) {
            begun.entry.clone()
        } else {
            write_down(&place.history_file(), &to_make)
                .map_err(|mistake| format!("{mistake}; nothing was changed"))?;
            to_make
        };
        if let Err(error) = replace(&file, &edited.text, Readers::AsBefore) {
            let is_unchanged = fs::read_to_string(&file).is_ok_and(|now| now == text);
            // Else the next revert would be taken for this one's.
            let is_struck_out = is_unchanged && withdraw(place, &entry).is_ok();
            let said = match (is_unchanged, is_struck_out) {
                (_, true) => "nothing was changed, and it is struck out of the history",
                (true, false) => {
                    "nothing was changed; smpctl route revert strikes it out of the history"
                }
                (false, _) => "run the same command again, or smpctl route revert",
            };
            return Err(format!("{}: {error}; {said}", file.display()));
        }
        Some(entry)
    };
    confirm(place, &deployment, act, (&edited, entry), &mut report)?;
    if let (TakenBack::NeverMade(entry), true) = (&taken_back, report.is_done) {
        withdraw(place, entry)?;
        report.said = format!("{}, and is struck out; {}", never_made(entry), report.said);
    }
    Ok(report)
}

/// What a revert is of.
enum TakenBack {
    /// It is none, or one that was begun goes on.
    Nothing,
    /// This change.
    Change(Past),
    /// One that was cut off before it was made.
    NeverMade(Entry),
}

fn never_made(entry: &Entry) -> String {
    format!(
        "'{}' of {:.0} was begun and never made",
        entry.action, entry.at
    )
}

/// Whoever reads the history passes it over from then on.
fn withdraw(place: &Place, entry: &Entry) -> Result<(), String> {
    let withdrawal = Withdrawal {
        id: entry.id.clone(),
        withdrawn_at: Timestamp::now(),
    };
    write_down(&place.history_file(), &withdrawal)
}

/// All that can be known before anything is changed.
fn look(
    place: &Place,
    deployment: &Deployment,
    goal: &Goal,
    (text, edited): (&str, &Edited),
    has_served: impl Fn(&RegionId) -> bool,
) -> Report {
    let mut moved = moved(&edited.before, &edited.after);
    let mut checks = checks::files(
        &edited.text,
        &registry::survey(&place.regions),
        &place.environment,
    );
    if matches!(goal, Goal::State(_, State::Paused)) {
        // A pause does no harm, and must not wait until a file is mended.
        checks.iter_mut().for_each(Check::excuse);
    }
    checks.extend(checks::paused_region(goal, &edited.after, &place.flag()));
    checks.extend(checks::targets(
        goal,
        &edited.after,
        deployment,
        &registry::survey(&place.regions),
        has_served,
    ));
    if !moved.is_empty() {
        checks.push(checks::last_hour(&mut moved, deployment, &place.access));
    }
    Report {
        action: goal.to_string(),
        reverts: None,
        environment: place.name(),
        version: (edited.before.version(), edited.after.version()),
        changes: edited.changes.iter().map(ToString::to_string).collect(),
        diff: edit::diff(text, &edited.text),
        moved,
        checks,
        is_done: false,
        confirmed: Vec::new(),
        confirmed_ms: None,
        said: String::new(),
    }
}

/// The last change, and what takes it back.
fn last_change(past: &[Past], text: &str, environment: &str) -> Result<(Goal, TakenBack), String> {
    let routes = edit::routes(text, environment)?;
    let cut_off = history::cut_off(past, environment, &routes);
    if cut_off.is_some_and(|past| past.entry.reverts.is_some()) {
        // This one is brought to its end; the change before it stays.
        return Ok((Goal::Revert(Vec::new()), TakenBack::Nothing));
    }
    if let Some(begun) = history::never_made(past, environment, &routes) {
        // Whoever takes it back must not take back the change before it.
        let never_made = TakenBack::NeverMade(begun.entry.clone());
        return Ok((Goal::Revert(Vec::new()), never_made));
    }
    let last = history::last_to_revert(past, environment, &routes);
    let last = last.ok_or_else(|| {
        format!("no change of {environment} is written down that could be taken back: smpctl route history")
    })?;
    Ok((
        Goal::Revert(last.entry.changes.clone()),
        TakenBack::Change(last.clone()),
    ))
}

/// In the order of time.
fn uuid_v7() -> Result<String, String> {
    let now = Timestamp::now().as_millisecond();
    let now = u64::try_from(now).map_err(|_| "the clock is before 1970")?;
    Ok(uuid::Builder::from_unix_timestamp_millis(now, &random()?)
        .into_uuid()
        .to_string())
}

impl Act {
    /// As part of another command's work.
    pub(crate) fn new(why: &str, by: Option<&str>, yes: bool) -> Self {
        Self {
            why: why.to_owned(),
            by: by.map(ToOwned::to_owned),
            yes,
            force: false,
            patience_secs: CONFIRMED_SECS,
            json: false,
        }
    }

    fn who(&self) -> Result<String, String> {
        let named = || from_environment("USER").or_else(|| from_environment("LOGNAME"));
        let logged_in = || {
            let user = User::from_uid(Uid::current()).ok().flatten()?;
            Some(user.name)
        };
        let who = self.by.clone().or_else(named).or_else(logged_in);
        who.ok_or_else(|| "who does it? --by says it".to_owned())
    }
}

impl Place {
    /// What is meant, for people.
    pub(crate) fn name(&self) -> String {
        match self.local {
            Some(_) => "this machine".to_owned(),
            None => self.environment.clone(),
        }
    }

    /// What is done with files, keys and clusters, of which there is one set, is done for production.
    pub(crate) fn only_production(&self) -> Result<(), String> {
        match self.environment.as_str() {
            "production" => Ok(()),
            environment => Err(format!(
                "--environment {environment}: registry, secrets and clusters are production's; of another environment \
                 smpctl changes the routes only (smpctl route)"
            )),
        }
    }

    pub(crate) fn wrangler(&self) -> &Path {
        &self.wrangler
    }

    pub(crate) fn environment(&self) -> &str {
        &self.environment
    }

    pub(crate) fn regions(&self) -> &Path {
        &self.regions
    }

    /// The folder of the platform on this machine, if that is meant.
    pub(crate) fn local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// How a command says that the same is meant.
    pub(crate) fn flag(&self) -> String {
        let local = match &self.local {
            None => String::new(),
            Some(folder) if folder.as_os_str() == ".run" => " --local".to_owned(),
            Some(folder) => format!(" --local={}", folder.display()),
        };
        match self.environment.as_str() {
            "production" => local,
            environment => format!("{local} --environment {environment}"),
        }
    }

    fn history_file(&self) -> PathBuf {
        match (&self.history, &self.local) {
            (Some(file), _) => file.clone(),
            (None, Some(folder)) => folder.join("routes.jsonl"),
            (None, None) => PathBuf::from("infra/history/routes.jsonl"),
        }
    }
}

/// A member of a JSON object, as text.
fn text_of<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}
