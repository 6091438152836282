//! `smpctl rollback`: a switch, the program before, or the schema before: each with a look before it, a confirmation,
//! a look after it, and its time.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use infra::edge;
use infra::rollback::{Report, Step, Tier};
use protocol::Country;
use serde_json::{Value, json};

use crate::edge_command::{from_environment, read_secret};
use crate::print_or_fail;

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// A backup that is older is not one of now.
const BACKUP_AGE: Duration = Duration::from_hours(1);

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// Tier 1: throw a switch of a country, or switch a source off. No downtime, no data at risk: always the first.
    ///
    /// Leads go on being kept. What a switch held back is processed later by a replay. Without --yes it is only shown
    /// what would change.
    #[command(after_help = "Examples:\n  \
        smpctl rollback switch --country VN --kill-switch on --yes\n  \
        smpctl rollback switch --country VN --processing paused --yes\n  \
        smpctl rollback switch --country VN --source vn-main/-11 off --yes")]
    Switch {
        #[command(flatten)]
        staff: StaffAccess,
        #[command(flatten)]
        what: Switched,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Tier 2: put the program before back, by your own command, and wait until it is ready. For when a switch did not
    /// help.
    ///
    /// The old program runs on the newer schema: migrations expand before they contract. While cores restart, the
    /// edge keeps what comes (spool = "sealed") or Pancake sends it again, and polling finds the rest. Without --yes
    /// it is only looked whether it answers now.
    #[command(after_help = "Example:\n  \
        smpctl rollback service --ready https://core.smp-asia.example.com/readyz \\\n    \
        --run 'kubectl -n smp-asia rollout undo deployment/regional-core --to-revision=0' --yes")]
    Service {
        /// What puts the program before back and returns once that is under way.
        #[arg(long, value_name = "COMMAND")]
        run: String,
        /// What answers 200 when the service is ready.
        #[arg(long, value_name = "URL")]
        ready: String,
        /// How long to wait for that, in seconds.
        #[arg(long, default_value_t = 900)]
        within_secs: u64,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Tier 3: take migrations back. Data is lost: only where the schema itself is wrong, and tiers 1 and 2 did not help.
    ///
    /// Needs the kill switch of each country that --country names to be on, a backup that is younger than an hour, and
    /// CORE_OWNER_DATABASE_URL. Without --yes it is only shown what would be lost.
    #[command(after_help = "Example:\n  \
        pg_dump -Fc -f before.dump \"$CORE_OWNER_DATABASE_URL\"\n  \
        smpctl rollback migration --to 23 --backup before.dump --country VN --yes")]
    Migration {
        #[command(flatten)]
        staff: StaffAccess,
        /// Take back all above this version.
        #[arg(long, value_name = "VERSION")]
        to: u32,
        /// A dump of the database as it is.
        #[arg(long, value_name = "FILE")]
        backup: PathBuf,
        /// The program that knows the migrations.
        #[arg(long, default_value = "regional-core", value_name = "PROGRAM")]
        core: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
}

/// Which country's core, and by which right.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct StaffAccess {
    /// The edge's origin; else the environment's EDGE_URL.
    #[arg(long, value_name = "URL")]
    edge: Option<String>,
    /// The file that holds the bearer token of an admin of the country; else the environment's SMP_STAFF_TOKEN.
    #[arg(long, value_name = "FILE")]
    staff_token_file: Option<PathBuf>,
    /// Whose switches.
    #[arg(long)]
    country: Country,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Switched {
    /// On: whatever comes is kept and skipped, until a replay.
    #[arg(long)]
    kill_switch: Option<OnOff>,
    /// Paused: whatever comes is kept and waits.
    #[arg(long)]
    processing: Option<Processing>,
    /// CONNECTION/SOURCE and on or off: leads of that source alone are kept and skipped.
    #[arg(long, num_args = 2, value_names = ["CONNECTION/SOURCE", "on|off"])]
    source: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Processing {
    Paused,
    Running,
}

/// Runs one of them.
pub(crate) fn run(action: Action) -> ExitCode {
    let (outcome, as_json) = match action {
        Action::Switch {
            staff,
            what,
            yes,
            json,
        } => (switch(&staff, &what, yes), json),
        Action::Service {
            run,
            ready,
            within_secs,
            yes,
            json,
        } => (
            service(&run, &ready, Duration::from_secs(within_secs), yes),
            json,
        ),
        Action::Migration {
            staff,
            to,
            backup,
            core,
            yes,
            json,
        } => (migration(&staff, to, (&backup, &core), yes), json),
    };
    print_or_fail(outcome.map(|report| {
        if as_json {
            format!("{:#}\n", json!(report))
        } else {
            report.lines()
        }
    }))
}

/// Takes steps, and the time of each.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn take<T>(
        &mut self,
        what: &str,
        step: impl FnOnce() -> Result<(String, T), String>,
    ) -> Result<T, String> {
        let began = Instant::now();
        let (found, value) = step().map_err(|error| format!("{what}: {error}"))?;
        self.0.push(Step {
            what: what.to_owned(),
            found,
            took_ms: began.elapsed().as_millis(),
        });
        Ok(value)
    }
}

impl StaffAccess {
    /// The edge, and the token for the country's core behind it.
    fn open(&self) -> Result<(edge::Client, String), String> {
        let origin = self.edge.clone().or_else(|| from_environment("EDGE_URL"));
        let origin = origin.ok_or("which edge? --edge or EDGE_URL says it")?;
        let token = match &self.staff_token_file {
            Some(path) => Some(read_secret(path)?),
            None => from_environment("SMP_STAFF_TOKEN"),
        };
        let token = token.ok_or("by whose right? --staff-token-file or SMP_STAFF_TOKEN says it")?;
        Ok((edge::Client::new(&origin, String::new()), token))
    }
}

fn switch(access: &StaffAccess, what: &Switched, yes: bool) -> Result<Report, String> {
    let (client, token) = access.open()?;
    let staff = client.staff(&token, access.country);
    let Target {
        path,
        listed,
        field,
        wanted,
    } = target(what)?;
    let read = || -> Result<(String, Value), String> {
        let row = match &listed {
            None => staff.row(&path)?,
            Some((list, source)) => staff
                .find(list, |row| row.get("source_id") == Some(&json!(source)))?
                .ok_or_else(|| format!("{source}: no record has named that source yet"))?,
        };
        let is_on = row.get(field).and_then(Value::as_bool);
        let is_on = is_on.ok_or_else(|| format!("{path}: it says nothing of {field}"))?;
        Ok((format!("{field} is {}", on_off(is_on)), row))
    };
    let mut steps = Steps::default();
    let before = steps.take("before", read)?;
    steps.take("leads that wait", || {
        let report = staff.row("crm/reports/pancake")?;
        let of = |state: &str| {
            let pointer = format!("/not_processed/{state}/events");
            report
                .pointer(&pointer)
                .and_then(Value::as_i64)
                .unwrap_or(0)
        };
        let told = format!(
            "{} received, {} failed, {} dead letters, {} skipped by the kill switch",
            of("received"),
            of("failed"),
            of("dead_letter"),
            of("skipped_kill_switch")
        );
        Ok((told, ()))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Switch, steps.0, false));
    }
    steps.take("change", || {
        let version = before.get("version").and_then(Value::as_i64);
        staff.change(&path, version, &json!({ field: wanted }))?;
        Ok((format!("{field} becomes {}", on_off(wanted)), ()))
    })?;
    let after = steps.take("after", read)?;
    if after.get(field) != Some(&json!(wanted)) {
        return Err(format!(
            "{path}: {field} is not {} though it was set: somebody else changed it; look again",
            on_off(wanted)
        ));
    }
    Ok(Report::new(Tier::Switch, steps.0, true))
}

/// What is thrown.
struct Target {
    /// Where it is changed, and read unless it is in a list.
    path: String,
    /// The list that it is in, and its id there.
    listed: Option<(String, String)>,
    field: &'static str,
    wanted: bool,
}

fn target(what: &Switched) -> Result<Target, String> {
    let switch = |field, wanted| Target {
        path: "crm/pancake/switches".to_owned(),
        listed: None,
        field,
        wanted,
    };
    if let Some(wanted) = what.kill_switch {
        return Ok(switch("kill_switch", wanted == OnOff::On));
    }
    if let Some(wanted) = what.processing {
        return Ok(switch("processing_paused", wanted == Processing::Paused));
    }
    let expected =
        "--source: CONNECTION/SOURCE and on or off are expected, such as vn-main/-11 off";
    let [source, wanted] = what.source.as_deref().unwrap_or_default() else {
        return Err(expected.to_owned());
    };
    let wanted = match wanted.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(expected.to_owned()),
    };
    let (connection, source) = source.split_once('/').ok_or(expected)?;
    let path: String = source.bytes().fold(String::new(), |path, byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~()".contains(&byte);
        if is_plain {
            path + &char::from(byte).to_string()
        } else {
            path + &format!("%{byte:02X}")
        }
    });
    Ok(Target {
        path: format!("crm/pancake/sources/{connection}/{path}"),
        listed: Some((
            format!("crm/pancake/sources?limit=200&connection={connection}"),
            source.to_owned(),
        )),
        field: "is_active",
        wanted,
    })
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn service(command: &str, ready: &str, within: Duration, yes: bool) -> Result<Report, String> {
    let mut steps = Steps::default();
    steps.take("before", || {
        let found = match is_ready(ready) {
            Ok(()) => "ready".to_owned(),
            Err(why) => format!("not ready: {why}"),
        };
        Ok((found, ()))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Service, steps.0, false));
    }
    steps.take("run", || {
        let status = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| error.to_string())?;
        if status.success() {
            Ok((command.to_owned(), ()))
        } else {
            Err(format!(
                "'{command}' ended with {status}; nothing is known of the service"
            ))
        }
    })?;
    steps.take("until it is ready", || {
        let began = Instant::now();
        loop {
            match is_ready(ready) {
                Ok(()) => return Ok((format!("{ready} answers 200"), ())),
                Err(why) if began.elapsed() >= within => {
                    return Err(format!(
                        "{ready} does not after {} s: {why}. Leads are kept by the edge meanwhile; look at the \
                         service's log",
                        within.as_secs()
                    ));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    })?;
    Ok(Report::new(Tier::Service, steps.0, true))
}

fn is_ready(url: &str) -> Result<(), String> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(LOOK))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let answer = agent.get(url).call().map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => Err(format!("it answers {status}")),
    }
}

fn migration(
    access: &StaffAccess,
    to: u32,
    (backup, core): (&PathBuf, &PathBuf),
    yes: bool,
) -> Result<Report, String> {
    let mut steps = Steps::default();
    let (client, token) = access.open()?;
    let staff = client.staff(&token, access.country);
    steps.take("kill switch", || {
        let row = staff.row("crm/pancake/switches")?;
        if row.get("kill_switch") == Some(&json!(true)) {
            return Ok((format!("on in {}", access.country), ()));
        }
        Err(format!(
            "it is off in {country}, so processing would meet a schema that is not its own: \
             smpctl rollback switch --country {country} --kill-switch on --yes",
            country = access.country
        ))
    })?;
    steps.take("backup", || {
        let in_file = |error: std::io::Error| format!("{}: {error}", backup.display());
        let file = fs::metadata(backup).map_err(in_file)?;
        let age = file
            .modified()
            .map_err(in_file)?
            .elapsed()
            .unwrap_or_default();
        if file.len() == 0 || age > BACKUP_AGE {
            return Err(format!(
                "{} is empty, or older than an hour: pg_dump -Fc -f {} \"$CORE_OWNER_DATABASE_URL\"",
                backup.display(),
                backup.display()
            ));
        }
        Ok((format!("{} bytes, {} s old", file.len(), age.as_secs()), ()))
    })?;
    let to = to.to_string();
    let migrate = |arguments: &[&str]| {
        Command::new(core)
            .arg("migrate")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}; --core says where it is", core.display()))
    };
    steps.take("what would be lost", || {
        let output = migrate(&["down", "--to", &to])?;
        // 2: it was shown, and nobody agreed.
        if !matches!(output.status.code(), Some(0 | 2)) {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let plan = String::from_utf8_lossy(&output.stdout);
        Ok((plan.trim().replace('\n', "; "), ()))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Migration, steps.0, false));
    }
    steps.take("take back", || {
        let output = migrate(&["down", "--to", &to, "--yes"])?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            Ok((said.replace('\n', "; "), ()))
        } else {
            Err(format!("{said}; what came before it stays taken back"))
        }
    })?;
    steps.take("after", || {
        let output = migrate(&["status"])?;
        let status = String::from_utf8_lossy(&output.stdout);
        let above = status
            .lines()
            .filter_map(|line| line.strip_prefix("applied "))
            .filter_map(|line| line.split(' ').next()?.parse::<u32>().ok())
            .max();
        Ok((
            above.map_or_else(
                || "no migration is applied".to_owned(),
                |version| format!("the schema is at {version:04}"),
            ),
            (),
        ))
    })?;
    Ok(Report::new(Tier::Migration, steps.0, true))
}
