//! `smpctl region remove`: a region is taken out of service for good, and no other one notices.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use infra::edge;
use infra::files::lock;
use infra::registry::Role;
use infra::rollback::backup;
use infra::route::Goal;
use protocol::RegionId;
use protocol::routes::RouteState;
use serde_json::json;

use super::Say;
use super::site::{Site, Stage, Works, go_on};
use crate::route_command::{self, Act};

/// A region that goes.
#[derive(Args)]
pub(crate) struct Remove {
    /// Which.
    region: RegionId,
    #[command(flatten)]
    works: Works,
    #[command(flatten)]
    say: Say,
    /// A backup of its database, of the last hour, that smpctl region backup wrote. Keep it as long as the law wants it.
    #[arg(long, value_name = "FILE", required_unless_present = "no_backup")]
    backup: Option<PathBuf>,
    /// There is nothing in it that anybody will want.
    #[arg(long, conflicts_with = "backup")]
    no_backup: bool,
}

/// What to print, and whether it is gone, or would be.
pub(super) fn run(remove: &Remove) -> Result<(String, bool), String> {
    let site = Site::new(remove.region.clone(), &remove.works)?;
    let _alone = lock(site.place().regions())?;
    if site.registry().lacks(&site.id) && site.route_state()?.is_none() {
        let kept = site.secrets().map(|folder| folder.join(site.id.as_str()));
        if kept.is_ok_and(|folder| !folder.exists()) {
            return Err(format!(
                "{} is no region, and never was one here: smpctl region doctor",
                site.id
            ));
        }
        return Ok(gone_already(remove, &site));
    }
    if site.registry().lacks(&site.id) {
        return Err(format!(
            "{} is not there, and {} has a route to {}: bring the file back (git checkout), then run the same command again",
            site.file().display(),
            site.place().wrangler().display(),
            site.id
        ));
    }
    let refusals = refusals(remove, &site)?;
    let mut steps = vec![
        format!(
            "the route of {} and of its countries is taken out of {}, and the edge confirms it",
            site.id,
            site.place().wrangler().display()
        ),
        "edge and hub forget its keys".to_owned(),
        format!(
            "what runs in {} is stopped (--apply with SMP_STAGE=gone)",
            site.id
        ),
        "what was rendered of it is removed, and the hub stops asking for it".to_owned(),
        format!("{} is removed", site.file().display()),
    ];
    let secrets = site
        .secrets()
        .map(|folder| folder.join(site.id.as_str()).display().to_string());
    let kept = format!(
        "kept: its database's volume, its backups, and {}, which opens what lies sealed in them",
        secrets.unwrap_or_else(|_| "its secrets".to_owned())
    );
    let is_well = refusals.is_empty();
    let said = if !is_well {
        format!("{} stays: {}", site.id, refusals.join("; "))
    } else if remove.say.yes {
        let _secrets = site.lock_secrets()?;
        steps = act(remove, &site)?;
        format!("{} is gone; {kept}", site.id)
    } else {
        format!("nothing was changed: --yes does it; {kept}")
    };
    let text = if remove.say.json {
        format!(
            "{:#}\n",
            json!({"region": site.id.as_str(), "steps": steps, "refusals": refusals, "is_done": is_well && remove.say.yes, "said": said})
        )
    } else {
        let mut lines = Vec::new();
        if is_well {
            lines.extend(steps.iter().map(|step| format!("- {step}")));
        }
        lines.push(said);
        lines.join("\n") + "\n"
    };
    Ok((text, is_well))
}

/// The file goes last: without it, and without a route, nothing is left to do.
fn gone_already(remove: &Remove, site: &Site<'_>) -> (String, bool) {
    let said = format!(
        "{} is gone already: {} is not there, nor is a route to it",
        site.id,
        site.file().display()
    );
    let text = if remove.say.json {
        let steps: [&str; 0] = [];
        format!(
            "{:#}\n",
            json!({"region": site.id.as_str(), "steps": steps, "refusals": steps, "is_done": true, "said": said})
        )
    } else {
        said + "\n"
    };
    (text, true)
}

/// Why it must not go, or not yet.
fn refusals(remove: &Remove, site: &Site<'_>) -> Result<Vec<String>, String> {
    let region = site.region()?;
    let mut refusals = Vec::new();
    if region.role == Role::Hub {
        refusals
            .push("it is the hub: every other region has its master data from there".to_owned());
        return Ok(refusals);
    }
    for environment in site.other_environments_with_it()? {
        refusals.push(format!(
            "{environment} has a route to it too, and there is one set of files, keys and clusters: take it out of {} first",
            site.place().wrangler().display()
        ));
    }
    let routes = site.routes()?;
    let route = routes.regions().find(|route| route.region == site.id);
    if let Some(route) = route {
        if route.state == RouteState::Open {
            refusals.push(format!(
                "its route is open: smpctl route pause {}{} --why WHY --yes",
                site.id,
                site.place().flag()
            ));
        }
        let client = site
            .deployment()
            .and_then(|deployment| deployment.edge_client(site.place().access()));
        // While somebody sends, records come to wait until the route is gone, and nobody would look for them any more.
        let connections = client.as_ref().map_err(Clone::clone);
        let connections = connections.and_then(edge::Client::connections);
        if let Err(why) = &connections {
            refusals.push(format!(
                "whether somebody sends for it still is not known: {why}"
            ));
        }
        for connection in connections.iter().flat_map(|list| &list.connections) {
            let led_here = routes.countries().any(|(country, region)| {
                *region == site.id && country.as_str() == connection.country
            });
            if led_here {
                refusals.push(format!(
                    "{} sends for {} still: smpctl connection revoke {} --reason WHY --yes, or smpctl route flip {} --to \
                     REGION --why WHY --yes{}",
                    connection.id,
                    connection.country,
                    connection.id,
                    connection.country,
                    site.place().flag()
                ));
            }
        }
        // What waits at the edge can be opened by this region only.
        let status = client.and_then(|client| client.status());
        match status {
            Err(why) => refusals.push(format!(
                "whether records wait for it at the edge is not known: {why}"
            )),
            Ok(status) => {
                let waiting = status
                    .regions
                    .iter()
                    .find(|of| of.region == site.id.as_str());
                let records = waiting.map_or(0, |of| of.waiting + of.parked);
                if records > 0 {
                    refusals.push(format!(
                        "{records} records wait for it at the edge, and nobody else can open them: smpctl route open {}{} --why \
                         WHY --yes until there are none, then pause it again (smpctl edge status)",
                        site.id,
                        site.place().flag()
                    ));
                }
            }
        }
    }
    if let Some(path) = &remove.backup
        && let Err(mistake) = judge_backup(path, &site.id, route.is_some())
    {
        refusals.push(mistake);
    }
    if site.is_by_hand() {
        refusals.push(
            "nothing says how what runs in it is stopped: --apply COMMAND, for example tools/apply-region.sh, or --apply \
             true if somebody stops it by hand, and applies the hub's stages again after that (docs/kubernetes.md)"
                .to_owned(),
        );
    }
    Ok(refusals)
}

/// Whether a backup is whole, of the region, and of now. Once nothing leads to the region nothing is added to it, and
/// whoever goes on with what was interrupted may not be able to write another one.
fn judge_backup(path: &Path, id: &RegionId, is_routed: bool) -> Result<(), String> {
    // Reading a large one takes a while.
    let now = SystemTime::now();
    let found = backup::read(path)?;
    let in_file = |why: String| format!("{}: {why}", path.display());
    if let Some(region) = found
        .region
        .as_ref()
        .filter(|region| *region != id.as_str())
    {
        return Err(in_file(format!("it is a backup of {region}")));
    }
    if is_routed {
        found.age(now).map_err(in_file)?;
    }
    Ok(())
}

/// The region's file goes last: until then whoever was interrupted finds all that is to be done.
fn act(remove: &Remove, site: &Site<'_>) -> Result<Vec<String>, String> {
    let mut steps = Vec::new();
    // Though the file has no route any more the edge may have one, and without its key it would answer nobody.
    let act = Act::new(&remove.say.why, remove.say.by.as_deref(), true);
    let goal = Goal::RemoveRegion(site.id.clone());
    let report = route_command::try_change(site.place(), &act, Some(goal))?;
    if !report.is_done {
        return Err(report.lines());
    }
    steps.push(format!("route: {}", report.said));
    let forgotten = site.forget_secrets().map_err(go_on)?;
    site.apply_edge()?;
    steps.push(format!(
        "edge and hub forgot its keys ({} files)",
        forgotten.len()
    ));
    // What stops it finds its manifests, whatever was removed before this was interrupted.
    site.render(&site.registry()).map_err(go_on)?;
    site.apply(&site.id, Stage::Gone)?;
    steps.push(format!("nothing of {} runs any more", site.id));
    let hub = site.hub()?;
    let mut others = site.registry();
    others.regions.retain(|region| region.id != site.id);
    site.render(&others).map_err(go_on)?;
    site.apply(&hub, Stage::Stores)?;
    site.apply(&hub, Stage::Services)?;
    steps.push("the hub does not ask for it any more".to_owned());
    let file = site.file();
    std::fs::remove_file(&file).map_err(|error| go_on(format!("{}: {error}", file.display())))?;
    steps.push(format!("{} is removed: commit that", file.display()));
    Ok(steps)
}
