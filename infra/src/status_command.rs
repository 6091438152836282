//! `smpctl status`: all regions on one screen, live on a terminal.

mod ask;
mod live;

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use infra::registry::{self, Registry};
use infra::route::edit;
use infra::status::{self, Facts, Status};
use jiff::Timestamp;
use protocol::routes::RouteTable;
use serde_json::json;

use crate::edge_command::from_environment;
use crate::print_or_fail;
use crate::route_command::{Deployment, Place};

/// What is shown, and how.
#[derive(Args)]
pub(crate) struct Watch {
    /// Print it once, and exit with 1 if anything is wrong. So it is without a terminal.
    #[arg(long)]
    once: bool,
    /// How often everybody is asked, in seconds.
    #[arg(long, default_value_t = 2, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every: u64,
    /// Print one JSON object, and exit with 1 if anything is wrong.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Everybody asked once.
struct Round {
    environment: String,
    routes: RouteTable,
    registry: Registry,
    is_local: bool,
    flag: String,
}

pub(crate) fn run(watch: Watch) -> ExitCode {
    let is_terminal = std::io::stdout().is_terminal();
    let in_colour = is_terminal && from_environment("NO_COLOR").is_none();
    let can_be_redrawn = is_terminal && from_environment("TERM").is_some_and(|term| term != "dumb");
    if can_be_redrawn && !watch.once && !watch.json {
        let every = Duration::from_secs(watch.every);
        return print_or_fail(live::show(watch, every, in_colour).map(|()| String::new()));
    }
    let (round, status) = match ask_all(&watch.place) {
        Ok(asked) => asked,
        Err(mistake) => return print_or_fail(Err(mistake)),
    };
    let text = if watch.json {
        format!("{:#}\n", json!(status))
    } else {
        status::screen(&status, &round.facts(), in_colour, None)
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    if status.is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Reads the files anew, as routes may change while somebody looks on, and asks everybody.
fn ask_all(place: &Place) -> Result<(Round, Status), String> {
    let text = fs::read_to_string(place.wrangler())
        .map_err(|error| format!("{}: {error}", place.wrangler().display()))?;
    let deployment = Deployment::of(place)?;
    let round = Round {
        environment: place.environment().to_owned(),
        routes: edit::routes(&text, place.environment())?,
        registry: registry::survey(place.regions()),
        is_local: deployment.is_local(),
        flag: place.flag(),
    };
    let answers = ask::everybody(&round.facts(), &deployment, place.access());
    let status = status::judge(&round.facts(), &answers, Timestamp::now());
    Ok((round, status))
}

impl Round {
    fn facts(&self) -> Facts<'_> {
        Facts {
            environment: &self.environment,
            routes: &self.routes,
            registry: &self.registry,
            is_local: self.is_local,
            flag: &self.flag,
        }
    }
}
