//! `smpctl country`: adds a country to a region, and says what is missing before it is opened.

mod add;
mod look;
mod plan;
mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::country::missing;
use infra::registry;
use protocol::{Country, RegionId};
use serde_json::json;

use crate::edge_command::{from_environment, read_secret};
use crate::print_or_fail;
use crate::route_command::deploy::Deployment;
use crate::route_command::{Act, Place};
use look::{Look, region_of};

/// By which right a core is asked.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Rights {
    /// The file that holds the bearer token of an admin of the country; else the environment's SMP_STAFF_TOKEN. It is
    /// shown to the core itself: the edge lets nobody through to a country whose route is paused.
    #[arg(long, global = true, value_name = "FILE")]
    staff_token_file: Option<PathBuf>,
}

impl Rights {
    fn staff_token(&self) -> Result<Option<String>, String> {
        match &self.staff_token_file {
            Some(path) => read_secret(path).map(Some),
            None => Ok(from_environment("SMP_STAFF_TOKEN")),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// What a country needs before it is opened: what is there, what is missing, and what mends it.
    ///
    /// Changes nothing. Asks the core at the origin of its route, and the edge with a token of ops. Exits with 1 if
    /// anything is missing; what could not be seen is unknown, and told with what shows it.
    #[command(after_help = "Example:\n  \
        smpctl country check LA --staff-token-file admin.token --token-file ops.token\n  \
        smpctl country check LA --json | jq '.checklist[] | select(.verdict != \"ok\")'")]
    Check {
        /// The country.
        country: Country,
        /// Its region; else the one whose file lists it, or to which its route leads.
        #[arg(long)]
        region: Option<RegionId>,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Add a country to a region, paused: the region's file, what is rendered, its services, its route, and a probe.
    ///
    /// Without --yes it only shows which files would change, and what is missing. With it each step is done that is not
    /// done yet, as files, core and edge show it: whatever interrupts it, the same command goes on. At last
    /// `smpctl route open` opens the country, or --open does it at once if nothing is missing.
    #[command(after_help = "Examples:\n  \
        smpctl country add LA --region smp-asia --why 'Laos opens'          # looks only\n  \
        smpctl country add LA --region smp-asia --why 'Laos opens' --yes \\\n    \
        --apply tools/apply-region.sh\n  \
        smpctl country --staff-token-file admin.token add LA --region smp-asia --why 'Laos opens' --open --yes")]
    #[expect(
        clippy::doc_markdown,
        reason = "the text of --help, which shows backticks as they are"
    )]
    Add {
        /// The country.
        country: Country,
        /// Its region.
        #[arg(long)]
        region: RegionId,
        /// What gives the region's services what was rendered: run by sh, with SMP_REGION, SMP_STAGE=services, SMP_MANIFESTS,
        /// SMP_NAMESPACE, SMP_HUB and SMP_HUB_NAMESPACE in its environment, while the core does not serve the country. Left out, that is done by hand in between; with --local, platform does it.
        #[arg(long, value_name = "COMMAND")]
        apply: Option<String>,
        /// The folder of what is rendered.
        #[arg(long, default_value = "infra/rendered", value_name = "FOLDER")]
        into: PathBuf,
        /// Open the country too, if nothing is missing then.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        act: Act,
    },
}

/// Runs one of them.
pub(crate) fn run(action: Action, place: &Place, rights: &Rights) -> ExitCode {
    if let Err(mistake) = place.only_production() {
        return print_or_fail(Err(mistake));
    }
    match action {
        Action::Check {
            country,
            region,
            json,
        } => match check(place, rights, country, region) {
            Ok((look, region)) => {
                let items = look.items(country, &region);
                let text = if json {
                    let list = json!({"country": country.as_str(), "region": region.as_str(), "checklist": items});
                    format!("{list:#}\n")
                } else {
                    let lines: Vec<_> = items.iter().map(ToString::to_string).collect();
                    lines.join("\n") + "\n"
                };
                print(&text, missing(&items).is_empty())
            }
            Err(mistake) => print_or_fail(Err(mistake)),
        },
        Action::Add {
            country,
            region,
            apply,
            into,
            open,
            act,
        } => {
            let wish = add::Wish {
                country,
                region,
                apply,
                into,
                open,
            };
            match add::add(place, rights, &act, &wish) {
                Ok(report) => {
                    let text = if act.json {
                        format!("{:#}\n", json!(report))
                    } else {
                        report.lines()
                    };
                    print(&text, report.is_well(&act, &wish))
                }
                Err(mistake) => print_or_fail(Err(mistake)),
            }
        }
    }
}

fn print(text: &str, is_well: bool) -> ExitCode {
    // Whoever closed the pipe does not read on; the exit code still tells.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn check<'p>(
    place: &'p Place,
    rights: &Rights,
    country: Country,
    region: Option<RegionId>,
) -> Result<(Look<'p>, RegionId), String> {
    let look = Look {
        place,
        deployment: Deployment::of(place)?,
        registry: registry::survey(&place.regions),
        routes: look::routes(place)?,
        staff_token: rights.staff_token()?,
    };
    let region = match region {
        Some(region) => region,
        None => region_of(&look.registry, &look.routes, country)?,
    };
    Ok((look, region))
}
