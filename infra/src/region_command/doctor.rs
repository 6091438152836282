//! `smpctl region doctor`: what is missing.

use clap::Args;
use protocol::RegionId;
use serde_json::json;

use super::checklist::{self, Finding, State, lines};
use super::site::{Site, Works};

/// Which regions are looked at.
#[derive(Args)]
pub(crate) struct Doctor {
    /// The region; all of them if none is named.
    region: Option<RegionId>,
    #[command(flatten)]
    works: Works,
    /// Print JSON in place of the checklist.
    #[arg(long)]
    json: bool,
}

/// The checklists, and whether nothing is missing.
pub(super) fn run(doctor: &Doctor) -> Result<(String, bool), String> {
    let regions = if let Some(region) = &doctor.region {
        vec![region.clone()]
    } else {
        let registry = infra::registry::survey(doctor.works.place.regions());
        if registry.regions.is_empty() {
            return Err(registry.mistakes.join("; "));
        }
        registry
            .regions
            .into_iter()
            .map(|region| region.id)
            .collect()
    };
    let checklists: Vec<(RegionId, Vec<Finding>)> = regions
        .into_iter()
        .map(|id| {
            let site = Site::new(id, &doctor.works)?;
            let findings = checklist::all(&site);
            Ok((site.id, findings))
        })
        .collect::<Result<_, String>>()?;
    let is_well = |findings: &[Finding]| {
        findings
            .iter()
            .all(|finding| finding.state != State::Missing)
    };
    let all_well = checklists.iter().all(|(_, findings)| is_well(findings));
    let text = if doctor.json {
        let regions: Vec<_> = checklists
            .iter()
            .map(|(id, findings)| json!({"region": id.as_str(), "is_well": is_well(findings), "checklist": findings}))
            .collect();
        format!("{:#}\n", json!({"regions": regions}))
    } else {
        let blocks = checklists
            .iter()
            .map(|(id, findings)| format!("{id}\n{}", lines(findings)));
        blocks.collect::<Vec<_>>().join("\n")
    };
    Ok((text, all_well))
}
