//! Each step of adding a country, if it is not done yet.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use infra::country::{missing, way};
use infra::files::lock;
use infra::registry;
use infra::route::edit::{self, diff};
use infra::route::{Goal, State as RouteState, Target};
use protocol::routes;
use protocol::{Country, RegionId};
use serde_json::json;

use super::Rights;
use super::look::{self, Look};
use super::plan::Files;
use super::report::{Report, State, Step};
use crate::region_command::site::{local_stage, stage_variables};
use crate::route_command::deploy::Deployment;
use crate::route_command::{Act, Place, try_change};
use crate::shell::{finish, shell};

/// How often a core that is given another version is asked whether it is there.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// What is asked for.
pub(super) struct Wish {
    pub(super) country: Country,
    pub(super) region: RegionId,
    pub(super) apply: Option<String>,
    pub(super) into: PathBuf,
    pub(super) open: bool,
}

/// A step's end: what it changed, or nothing if it was so already.
type Outcome = Result<Option<Vec<String>>, Vec<String>>;

/// Adds the country, or without --yes says what that would be.
pub(super) fn add(
    place: &Place,
    rights: &Rights,
    act: &Act,
    wish: &Wish,
) -> Result<Report, String> {
    let mut look = Look {
        place,
        deployment: Deployment::of(place)?,
        registry: registry::survey(&place.regions),
        routes: look::routes(place)?,
        staff_token: rights.staff_token()?,
    };
    let mut report = Report {
        country: wish.country.to_string(),
        region: wish.region.to_string(),
        environment: place.name(),
        steps: Vec::new(),
        checklist: Vec::new(),
        is_added: false,
        is_open: false,
        said: String::new(),
    };
    if act.yes {
        do_all(&look, act, wish, &mut report);
    } else {
        report.steps = plan(&look, wish)?;
        "nothing was changed: --yes does what is to do".clone_into(&mut report.said);
    }
    look.registry = registry::survey(&place.regions);
    look.routes = look::routes(place)?;
    report.checklist = look.items(wish.country, &wish.region);
    report.is_open = is_open(&look, wish);
    if act.yes && report.is_added {
        open(&mut look, act, wish, &mut report)?;
    }
    Ok(report)
}

fn is_open(look: &Look<'_>, wish: &Wish) -> bool {
    look.routes.state(wish.country) == routes::RouteState::Open
}

/// The goal that the route is there.
fn added(wish: &Wish) -> Goal {
    Goal::AddCountry {
        country: wish.country,
        region: wish.region.clone(),
    }
}

/// What would be done.
fn plan(look: &Look<'_>, wish: &Wish) -> Result<Vec<Step>, String> {
    let place = look.place;
    let files = Files::plan(&place.regions, &wish.into, wish.country, &wish.region)?;
    let step = |what, lines: Vec<String>| Step {
        what,
        state: if lines.is_empty() {
            State::SoAlready
        } else {
            State::ToDo
        },
        lines,
    };
    let file = &place.wrangler;
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let edited = edit::reach(&text, &place.environment, &added(wish))
        .map_err(|mistake| format!("{}: {mistake}", file.display()))?;
    let mut route = diff(&text, &edited.text);
    if !route.is_empty() {
        route.insert(0, file.display().to_string());
    }
    let services = if serves(look, wish) {
        Vec::new()
    } else {
        let apply = || way::apply(&wish.region, place.local.is_some());
        vec![wish.apply.clone().unwrap_or_else(apply)]
    };
    Ok(vec![
        step(LISTED, files.listed()),
        step(RENDERED, files.rendered()),
        step(SERVICES, services),
        step(ROUTE, route),
        step(PROBE, vec!["a record of ours goes to the core".to_owned()]),
    ])
}

const LISTED: &str = "the region's file lists the country";
const RENDERED: &str = "what is made of the registry is rendered";
const SERVICES: &str = "the core serves the country";
const ROUTE: &str = "the country has a route, paused";
const PROBE: &str = "the core takes a probe through the edge";
const OPEN: &str = "the country is open";

/// One after the other, until one fails.
fn do_all(look: &Look<'_>, act: &Act, wish: &Wish, report: &mut Report) {
    let steps: [(&'static str, &dyn Fn() -> Outcome); 5] = [
        (LISTED, &|| write_listed(look, wish)),
        (RENDERED, &|| write_rendered(look, wish)),
        (SERVICES, &|| give_services(look, act, wish)),
        (ROUTE, &|| change_route(look.place, act, added(wish))),
        (PROBE, &|| probe(look, wish)),
    ];
    for (what, does) in steps {
        let (state, lines) = match does() {
            Ok(None) => (State::SoAlready, Vec::new()),
            Ok(Some(lines)) => (State::Done, lines),
            Err(lines) => (State::Failed, lines),
        };
        report.steps.push(Step { what, state, lines });
        if state == State::Failed {
            report.said = format!(
                "{} is not added yet: see above; once that is mended, the same command goes on",
                wish.country
            );
            return;
        }
    }
    report.is_added = true;
}

fn write_listed(look: &Look<'_>, wish: &Wish) -> Outcome {
    in_files(look, wish, |files| {
        let lines = files.listed();
        if lines.is_empty() {
            return Ok(None);
        }
        files.write_listed()?;
        Ok(Some(lines))
    })
}

fn write_rendered(look: &Look<'_>, wish: &Wish) -> Outcome {
    in_files(look, wish, |files| {
        let lines = files.rendered();
        if lines.is_empty() {
            return Ok(None);
        }
        files.write_rendered()?;
        Ok(Some(lines))
    })
}

/// While no other smpctl changes them.
fn in_files(
    look: &Look<'_>,
    wish: &Wish,
    act: impl FnOnce(&Files) -> Result<Option<Vec<String>>, String>,
) -> Outcome {
    let place = look.place;
    let changed = || {
        let _alone = lock(place.regions())?;
        act(&Files::plan(
            &place.regions,
            &wish.into,
            wish.country,
            &wish.region,
        )?)
    };
    changed().map_err(|mistake| vec![mistake])
}

fn serves(look: &Look<'_>, wish: &Wish) -> bool {
    way::served(&look.ready(&wish.region)).is_ok_and(|served| served.contains(&wish.country))
}

/// Gives the region's services what was rendered, and waits until the core says that it serves the country.
fn give_services(look: &Look<'_>, act: &Act, wish: &Wish) -> Outcome {
    if serves(look, wish) {
        return Ok(None);
    }
    let (country, region) = (wish.country, &wish.region);
    let (mut command, said) = match (&wish.apply, &look.place.local) {
        (Some(command), _) => (shell(command), command.clone()),
        (None, Some(run)) => {
            let regions = look.place.regions();
            let stage = (region, "services");
            let secrets = run.join("secrets");
            let command = local_stage(run, stage, regions, &wish.into, &secrets);
            let said = way::apply(region, true);
            (command.map_err(|mistake| vec![mistake])?, said)
        }
        (None, None) => {
            let found = way::core(&look.ready(region), country, region, false).found;
            return Err(vec![
                found,
                format!("give it what was rendered: {}", way::apply(region, false)),
                "then run the same command again; --apply COMMAND does both".to_owned(),
            ]);
        }
    };
    let variables = stage_variables(&look.registry, &wish.into, region, "services");
    // The Secrets stay as they are.
    command.envs(variables).env_remove("SMP_SECRETS");
    finish(&mut command).map_err(|why| {
        vec![format!(
            "'{said}' {why}; once that is mended, run the same command again"
        )]
    })?;
    let (began, patience) = (Instant::now(), Duration::from_secs(act.patience_secs));
    loop {
        let ready = look.ready(region);
        if way::is_settled(&ready, country) {
            return Ok(Some(vec![said]));
        }
        if began.elapsed() >= patience {
            return Err(vec![
                format!(
                    "'{said}' ended well, and after {} s the core is not as it should be: --patience-secs gives it \
                     longer",
                    act.patience_secs
                ),
                way::core(&ready, country, region, false).found,
            ]);
        }
        sleep(ASKED_EVERY);
    }
}

/// As `smpctl route` does it: with an entry in the history, deployed, and confirmed by the edge.
fn change_route(place: &Place, act: &Act, goal: Goal) -> Outcome {
    let report = try_change(place, act, Some(goal)).map_err(|mistake| vec![mistake])?;
    if !report.is_done {
        let refused = report.checks.iter().filter(|check| check.is_refusal());
        let mut lines: Vec<_> = refused.map(ToString::to_string).collect();
        lines.push(report.said);
        return Err(lines);
    }
    if report.changes.is_empty() {
        return Ok(None);
    }
    let mut lines = report.diff;
    lines.push(report.said);
    Ok(Some(lines))
}

/// The same record each time: where it was before, the core says so, and that is as good.
fn probe(look: &Look<'_>, wish: &Wish) -> Outcome {
    let country = wish.country;
    let client = look.deployment.edge_client(&look.place.access);
    let client = client.map_err(|why| vec![why])?;
    let record = json!({"probe": format!("country add {country}")});
    let answer = client
        .probe(country, &record)
        .map_err(|why| vec![format!("the edge: {why}")])?;
    let kept = answer.judge().map_err(|why| vec![why])?;
    Ok(Some(vec![kept]))
}

/// Opens the country if that was asked for and nothing is missing, and says how it is opened if not.
fn open(look: &mut Look<'_>, act: &Act, wish: &Wish, report: &mut Report) -> Result<(), String> {
    let country = wish.country;
    let flag = look.place.flag();
    let by_hand = format!("smpctl route open {country}{flag} --why WHY --yes opens it");
    if report.is_open {
        report.said = format!("{country} is added, and open");
        return Ok(());
    }
    let missing = missing(&report.checklist);
    if !missing.is_empty() {
        report.said = format!(
            "{country} is added, and paused: {} missing (see above); once it is there, {by_hand}",
            missing.join(", ")
        );
        return Ok(());
    }
    if !wish.open {
        report.said = format!("{country} is added, and paused: {by_hand}");
        return Ok(());
    }
    let goal = Goal::State(Target::Country(country), RouteState::Open);
    let (state, lines) = match change_route(look.place, act, goal) {
        Ok(None) => (State::SoAlready, Vec::new()),
        Ok(Some(lines)) => (State::Done, lines),
        Err(lines) => (State::Failed, lines),
    };
    report.steps.push(Step {
        what: OPEN,
        state,
        lines,
    });
    look.routes = look::routes(look.place)?;
    report.is_open = is_open(look, wish);
    report.said = match (state, report.is_open) {
        (State::Failed, _) => format!("{country} is added, and not opened: see above; {by_hand}"),
        (_, true) => format!("{country} is added, and open"),
        (_, false) => format!(
            "{country} is added and open, and {region} is paused: smpctl route open {region}{flag} --why WHY --yes",
            region = wish.region
        ),
    };
    Ok(())
}
