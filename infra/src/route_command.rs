//! `smpctl route`: shows the routes, changes them in one step, and takes that step back.

mod access;
mod change;
pub(crate) mod checks;
mod confirm;
pub(crate) mod deploy;
mod past;
mod report;
mod show;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::route::{Goal, State, Target};
use nix::unistd::{Uid, User};
use protocol::{Country, RegionId};
use serde_json::{Value, json};

use crate::edge_command::{Access, from_environment};
use crate::{one_line, print_or_fail};
pub(crate) use change::try_change;
pub(crate) use checks::{judge_core, judge_tables, metrics, readyz};
pub(crate) use deploy::Deployment;
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
