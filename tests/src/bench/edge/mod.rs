//! The edge on workerd itself, raced against JavaScript that does as much or less, and against nginx
//! with Lua: one worker thread each, signed posts, one trivially fast upstream for all.

mod contenders;
mod latency;
mod race;
mod startup;
mod tools;
mod webhook;

use std::path::Path;

use anyhow::Result;
use platform::checkout;
use serde_json::{Value, json};

use self::contenders::{
    Contender, bundle_ours, free_port, start_nginx_lua, start_upstream, start_worker,
};
use self::race::Standing;
use self::tools::Tools;
use self::webhook::body;
use super::{Effort, percentile};
use crate::up::say;

/// What most webhooks are like. All contenders race with this one.
const USUAL_BYTES: usize = 800;
/// With these, only [`WHOLE`].
const OTHER_BYTES: [usize; 3] = [200, 8 * 1_024, 256 * 1_024];

/// Those who verify and sign the hop; all but the last do the rest as well.
const WHOLE: [&str; 3] = ["ours", "jssame", "jsfull"];
/// Those who do less.
const PART: [&str; 2] = ["jshmac", "pass"];

/// Those who race. Each of the others' turns stands between two of the bound's.
struct Contenders {
    bound: Contender,
    whole: Vec<Contender>,
    part: Vec<Contender>,
}

pub(super) fn run(effort: Effort) -> Result<Value> {
    let tools = Tools::find()?;
    let directory = checkout::run_dir("bench/edge")?;
    let upstream_port = free_port()?;
    let _upstream = start_upstream(&directory, upstream_port)?;
    let wasm_gzip_bytes = bundle_ours(&directory, upstream_port)?;
    let start = |name| start_worker(name, &directory, upstream_port);
    let mut contenders = Contenders {
        bound: start("buf")?,
        whole: WHOLE.into_iter().map(start).collect::<Result<_>>()?,
        part: PART.into_iter().map(start).collect::<Result<_>>()?,
    };
    if tools.nginx_has_lua {
        let nginx = start_nginx_lua(&directory, upstream_port)?;
        contenders.part.push(nginx);
    }
    let races = race_with_all_sizes(&contenders, effort, &directory)?;
    let half_load = slowest(&races) / 2.0;
    let usual = body(USUAL_BYTES);
    let whole: Vec<_> = contenders.whole.iter().collect();
    let mut latenesses = latency::measure(&contenders.bound, &whole, &usual, half_load, effort)?;
    drop(contenders);

    let races = race::report(&races);
    if !tools.nginx_has_lua {
        say("nginx-lua was not raced: its module is packaged by Debian only");
    }
    let latency = latency::report(half_load, &mut latenesses);
    let startup = startup::measure(&usual, upstream_port, &directory)?;
    say(&format!(
        "the Worker's wasm is {} KiB gzipped",
        wasm_gzip_bytes.div_ceil(1_024)
    ));
    Ok(json!({
        "races": races, "half_load": latency, "startup": startup, "wasm_gzip_bytes": wasm_gzip_bytes,
    }))
}

/// The main race first.
fn race_with_all_sizes(
    contenders: &Contenders,
    effort: Effort,
    directory: &Path,
) -> Result<Vec<(usize, Vec<Standing>)>> {
    let Contenders { bound, whole, part } = contenders;
    let all: Vec<_> = whole.iter().chain(part).collect();
    let whole: Vec<_> = whole.iter().collect();
    let race = |bytes, others| {
        let standings = race::race(bound, others, &body(bytes), effort, directory)?;
        anyhow::Ok((bytes, standings))
    };
    let mut races = vec![race(USUAL_BYTES, &all)?];
    for bytes in OTHER_BYTES {
        races.push(race(bytes, &whole)?);
    }
    Ok(races)
}

/// What the slowest of the bound and of those who do the whole can do with the usual body.
fn slowest(races: &[(usize, Vec<Standing>)]) -> f64 {
    let main_race = races.first().map(|(_, standings)| standings);
    let in_question = main_race.into_iter().flatten().take(1 + WHOLE.len());
    in_question
        .map(Standing::rate)
        .fold(f64::INFINITY, f64::min)
}

/// Between which figures the middle half of some (sorted) figures is.
fn middle_half(sorted: &[f64]) -> [f64; 2] {
    [0.25, 0.75].map(|share| percentile(sorted, share))
}
