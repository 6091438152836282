//! `smpctl region add`: from nothing to a region that could serve, paused.

use std::time::{Duration, Instant};

use clap::Args;
use infra::files::{Readers, lock, replace};
use infra::registry::{Role, Spool};
use infra::route::{self, Goal, Target};
use infra::secrets;
use protocol::RegionId;
use protocol::routes::{Origin, RouteState};
use serde::Serialize;
use serde_json::json;

use super::about::{self, About};
use super::checklist::{self, Finding, Item, State, lines, look};
use super::site::{Site, Stage, Works, differing, go_on};
use crate::route_command::{self, Act};
use crate::say;

/// A new region.
#[derive(Args)]
pub(crate) struct Add {
    /// Its id: 2 to 32 lower-case letters, digits and hyphens, beginning with a letter, for example smp-us.
    region: RegionId,
    #[command(flatten)]
    about: About,
    /// Where the edge finds its core; else core. beside its replicator.
    #[arg(long, value_name = "URL", value_parser = origin)]
    origin: Option<Origin>,
    #[command(flatten)]
    works: Works,
    /// Who; else whoever is logged in.
    #[arg(long)]
    by: Option<String>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// How long the region's services may take until they answer.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    patience_secs: u64,
    /// Print JSON in place of lines.
    #[arg(long)]
    json: bool,
}

fn origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text).map_err(|error| error.to_string())
}

/// What was done, for the report.
#[derive(Serialize)]
struct Done {
    step: &'static str,
    did: String,
    seconds: f64,
}

/// How every mend that is this very command begins.
const ADD: &str = "smpctl region add ";

/// Between two looks at what is waited for, and how often that is said.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What to print, and whether the region could be opened.
pub(super) fn run(add: &Add) -> Result<(String, bool), String> {
    let site = Site::new(add.region.clone(), &add.works)?.with_origin(add.origin.clone());
    let _alone = lock(site.place().regions())?;
    if let Some(there) = site.registry().find(&site.id) {
        if there.role == Role::Hub {
            return Err(format!(
                "{id} is the hub, which is made by hand (docs/deploy.md): smpctl region doctor {id}{flag}",
                id = site.id,
                flag = site.place().flag()
            ));
        }
        let otherwise = add.about.contradictions(there);
        if !otherwise.is_empty() {
            return Err(format!(
                "{} is there, and says otherwise: {}. What it says counts: change it there, or leave the options away",
                site.file().display(),
                otherwise.join("; ")
            ));
        }
    }
    if !add.yes {
        return plan(add, &site).map(|text| (text, true));
    }
    let _secrets = site.lock_secrets()?;
    let mut steps = Vec::new();
    let outcome = make(add, &site, &mut steps);
    let findings = checklist::all(&site);
    // What a GM has yet to do, and what ops open in the end, is not this command's.
    let is_made = outcome.is_ok()
        && findings
            .iter()
            .all(|finding| is_later(finding) || finding.is_ok());
    let said = match outcome {
        Err(mistake) => mistake,
        Ok(()) if is_made => format!(
            "{id} could serve: see what is left above, then smpctl region open {id}{} --why WHY --yes",
            site.place().flag(),
            id = site.id
        ),
        Ok(()) => "not all of it is there yet: mend what is MISSING or unknown above, then run the same command again".to_owned(),
    };
    let text = if add.json {
        format!(
            "{:#}\n",
            json!({"region": site.id.as_str(), "steps": steps, "checklist": findings, "is_made": is_made, "said": said})
        )
    } else {
        lines(&findings) + &said + "\n"
    };
    Ok((text, is_made))
}

/// What others do before it opens.
fn is_later(finding: &Finding) -> bool {
    matches!(
        finding.item,
        Item::Backup | Item::Connections | Item::SignOff | Item::Open
    )
}

/// What would be done.
fn plan(add: &Add, site: &Site<'_>) -> Result<String, String> {
    let file = site.file();
    let mut files = Vec::new();
    let mut text = None;
    let mut again = String::new();
    if site.registry().lacks(&site.id) {
        let (new, answers) = add.about.text(&site.id, &site.registry().regions)?;
        let registry = about::judge(&new, site.registry())?;
        files.extend(differing(site.compare(&registry)?));
        text = Some(new);
        if !answers.is_empty() {
            again = format!("\nwhat was answered, as flags:{answers}");
        }
    }
    let mut findings = checklist::all(site);
    for finding in &mut findings {
        // This command is what mends it.
        finding.mend.take_if(|mend| mend.starts_with(ADD));
    }
    let to_do: Vec<_> = findings.iter().filter(|finding| !finding.is_ok()).collect();
    let said = format!(
        "nothing was changed: --yes does it. The route will be paused: smpctl region open opens it{again}"
    );
    if add.json {
        return Ok(format!(
            "{:#}\n",
            json!({"region": site.id.as_str(), "file": file, "text": text, "rendered": files, "checklist": to_do, "said": said})
        ));
    }
    let mut report = Vec::new();
    if let Some(text) = text {
        report.push(format!("{} would be:\n", file.display()));
        report.extend(text.lines().map(|line| format!("  {line}")));
        report.push(format!("\n{} files would be rendered:", files.len()));
        report.extend(files.iter().map(|file| format!("  {file}")));
    }
    let report: String = report.iter().flat_map(|line| [line, "\n"]).collect();
    Ok(report + &lines(&findings) + &said + "\n")
}

/// Does what is not done, in order. Whatever interrupts it, the same again goes on.
fn make(add: &Add, site: &Site<'_>, steps: &mut Vec<Done>) -> Result<(), String> {
    let mut progress = Progress {
        steps,
        is_json: add.json,
    };
    let file = site.file();
    if site.registry().lacks(&site.id) {
        progress.step("file", || {
            let (text, _) = add.about.text(&site.id, &site.registry().regions)?;
            about::judge(&text, site.registry())?;
            replace(&file, &text, Readers::AsBefore)
                .map_err(|error| go_on(format!("{}: {error}", file.display())))?;
            Ok(format!("{} is written", file.display()))
        })?;
    }
    let region = site.region()?;
    progress.step("rendered", || {
        let files = site.render(&site.registry()).map_err(go_on)?;
        Ok(written(&files))
    })?;
    progress.step("secrets", || {
        let files = site.make_secrets().map_err(go_on)?;
        Ok(written(&files))
    })?;
    let hub = site.hub()?;
    let are_up = [Item::Services, Item::Hub, Item::MasterData];
    if are_up.iter().any(|item| !look(site, *item).is_ok()) {
        // The hub's brokers must know the new mirror before it comes, its relay the region before it is asked for.
        let stages = [
            (&hub, Stage::Stores, "hub's stores"),
            (&region.id, Stage::Stores, "stores"),
            (&region.id, Stage::Services, "services"),
            (&hub, Stage::Services, "hub's services"),
        ];
        if site.is_by_hand() {
            let lacking = are_up.map(|item| look(site, item));
            let lacking = lacking.iter().filter(|finding| !finding.is_ok());
            let stages = stages.map(|(whose, stage, _)| (whose, stage));
            return Err(lines(lacking) + &site.by_hand(&stages)?);
        }
        for (whose, stage, step) in stages {
            progress.step(step, || {
                site.apply(whose, stage)?;
                Ok("put in force".to_owned())
            })?;
        }
        let patience = Duration::from_secs(add.patience_secs);
        for item in are_up {
            progress.step("wait", || wait(site, item, patience))?;
        }
    }
    let is_routed = look(site, Item::Route).is_ok();
    // An edge that has a route without its key answers nobody; with another key than the core's, it gets nothing there.
    if !is_routed || look(site, Item::Probe).state == State::Missing {
        progress.step("edge's secrets", || {
            site.apply_edge()?;
            Ok("put in force".to_owned())
        })?;
    }
    let act = Act::new(
        &format!("region {} is added", region.id),
        add.by.as_deref(),
        true,
    );
    let change = |goal| {
        let report = route_command::try_change(site.place(), &act, Some(goal))?;
        if report.is_done {
            Ok(report.said)
        } else {
            Err(report.lines())
        }
    };
    if !is_routed {
        progress.step("route", || {
            let sealing_key = match region.spool {
                Spool::Sealed => Some(secrets::sealing_key(&site.core_env()?)?),
                Spool::Off => None,
            };
            let goal = Goal::AddRegion {
                region: region.id.clone(),
                origin: site.origin()?,
                spool: region.spool,
                sealing_key,
                countries: region.countries.clone(),
            };
            change(goal)
        })?;
    } else if site.route_state()? == Some(RouteState::Paused) {
        // It may be in force, and whoever was to write that down was cut off.
        let so_already = Goal::State(Target::Region(region.id.clone()), route::State::Paused);
        progress.step("route", || change(so_already))?;
    }
    Ok(())
}

/// Waits until a line of the checklist is well.
fn wait(site: &Site<'_>, item: Item, patience: Duration) -> Result<String, String> {
    let (began, mut said) = (Instant::now(), Instant::now());
    loop {
        let finding = look(site, item);
        if finding.is_ok() {
            return Ok(finding.to_string());
        }
        if began.elapsed() >= patience {
            return Err(format!(
                "after {} s still: {finding}\nrun the same command again to go on",
                patience.as_secs()
            ));
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say(&format!(
                "  waiting, {} s of {} s: {}",
                began.elapsed().as_secs(),
                patience.as_secs(),
                finding.found
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn written(files: &[String]) -> String {
    match files {
        [] => "is there".to_owned(),
        files => format!("{} files are written", files.len()),
    }
}

struct Progress<'s> {
    steps: &'s mut Vec<Done>,
    is_json: bool,
}

impl Progress<'_> {
    fn step(
        &mut self,
        step: &'static str,
        act: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), String> {
        let began = Instant::now();
        if !self.is_json {
            say(&format!("{step} …"));
        }
        let did = act().map_err(|mistake| format!("{step}: {mistake}"))?;
        let seconds = began.elapsed().as_secs_f64();
        if !self.is_json {
            say(&format!("{step}: {did} ({seconds:.1} s)"));
        }
        self.steps.push(Done { step, did, seconds });
        Ok(())
    }
}
