//! `smpctl region open`: the traffic is let through.

use clap::Args;
use infra::route::{Goal, State, Target};
use protocol::RegionId;
use protocol::routes::RouteState;
use serde_json::json;

use super::Say;
use super::checklist::{self, Finding, Item, State as Seen, lines, look};
use super::site::{Site, Works};
use crate::route_command::{self, Act};

/// Opens a region.
#[derive(Args)]
pub(crate) struct Open {
    /// Which.
    region: RegionId,
    #[command(flatten)]
    works: Works,
    #[command(flatten)]
    say: Say,
}

/// What to print, and whether it serves, or would.
pub(super) fn run(open: &Open) -> Result<(String, bool), String> {
    let site = Site::new(open.region.clone(), &open.works)?;
    let mut findings = checklist::all(&site);
    findings.retain(|finding| finding.item != Item::Open);
    // Whoever was cut off while opening it left a table that says so, and an edge that does not: that is gone on with.
    let is_begun = site.route_state().ok().flatten() == Some(RouteState::Open);
    // A region may begin without anybody who sends, and where the provider keeps the backups is not seen from here.
    let is_in_the_way = |finding: &&Finding| match finding.item {
        Item::Connections => false,
        Item::Route => !is_begun && !finding.is_ok(),
        // Nobody's leads are led where no event was seen to arrive.
        Item::Probe => !finding.is_ok(),
        _ => finding.state == Seen::Missing,
    };
    let refused: Vec<_> = findings.iter().filter(is_in_the_way).collect();
    let goal = Goal::State(Target::Region(site.id.clone()), State::Open);
    let (report, said) = if refused.is_empty() {
        let act = Act::new(&open.say.why, open.say.by.as_deref(), open.say.yes);
        let mut report = route_command::try_change(site.place(), &act, Some(goal))?;
        let left = look(&site, Item::Open);
        if report.is_done && !left.is_ok() {
            // Somebody paused a country by itself.
            report.said = format!("{}; but {left}", report.said);
        }
        let said = report.said.clone();
        (Some(report), said)
    } else {
        (
            None,
            format!(
                "{} is not opened: mend what is MISSING or unknown above",
                site.id
            ),
        )
    };
    let is_well = report
        .as_ref()
        .is_some_and(|report| report.is_done || (!open.say.yes && report.is_well()));
    let text = if open.say.json {
        format!(
            "{:#}\n",
            json!({"region": site.id.as_str(), "checklist": findings, "route": report, "is_done": report.as_ref().is_some_and(|report| report.is_done), "said": said})
        )
    } else {
        let route = report.map_or_else(|| said + "\n", |report| report.lines());
        lines(&findings) + &route
    };
    Ok((text, is_well))
}
