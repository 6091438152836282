//! `smpctl`, the operator's command.

mod connection_command;
mod country_command;
mod edge_command;
mod gate_command;
mod job_command;
mod region_command;
mod rollback_command;
mod rotate_command;
mod route_command;
mod shell;
mod status_command;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use infra::files::lock;
use infra::{check, registry, render, token};
use protocol::at_rest::AtRestKeys;
use protocol::sealed::OpeningKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

/// Operate SMP Global: routes, regions and the edge.
#[derive(Parser)]
#[command(name = "smpctl", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold the route table (wrangler.toml) and the region registry against each other.
    ///
    /// Reads files only and changes nothing. Names every mistake at once, and holds what can be read
    /// against each other even if the rest cannot; exits with 1 if there is a mistake.
    #[command(after_help = "Example:\n  smpctl check\n  smpctl check --json | jq .mistakes")]
    Check {
        /// The Worker's configuration.
        #[arg(long, default_value = "wrangler.toml")]
        wrangler: PathBuf,
        /// The folder of the region registry.
        #[arg(long, default_value = "infra/regions")]
        regions: PathBuf,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Make the files that come from the region registry: MirrorMaker 2's settings, one file a spoke region, and
    /// each region's Kubernetes manifests.
    ///
    /// Only what differs is written. With --check nothing is: it shows what differs, and exits with 1 if
    /// anything does.
    #[command(after_help = "Example:\n  smpctl render\n  smpctl render --check --json | jq .files")]
    Render {
        /// Change nothing; exit with 1 if a file is not as it would be rendered.
        #[arg(long)]
        check: bool,
        /// The folder of the region registry.
        #[arg(long, default_value = "infra/regions")]
        regions: PathBuf,
        /// The folder of what is rendered.
        #[arg(long, default_value = "infra/rendered")]
        into: PathBuf,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Make the pair of keys by which a region's records wait at the edge.
    ///
    /// The public half is printed: it is the `sealing_key` of the region's route in wrangler.toml. The private
    /// half is written to a file, for its owner only: it belongs into the core's CORE_OPENING_KEYS and nowhere
    /// else. Without it, what waits can never be opened.
    #[command(after_help = "Example:\n  \
        smpctl sealing-key --name smp-asia-2 --opening-key smp-asia-2.opening-key")]
    #[expect(
        clippy::doc_markdown,
        reason = "the text of --help, which shows backticks as they are"
    )]
    SealingKey {
        /// What to call it: lower-case letters, digits and hyphens. A new pair gets a new name.
        #[arg(long)]
        name: String,
        /// Where to write the private half. It must not be there yet.
        #[arg(long, value_name = "FILE")]
        opening_key: PathBuf,
    },
    /// Make a key by which secrets lie where others can read: for the edge's secret CONNECTIONS_KEYS, or for a
    /// core's CORE_AT_REST_KEYS.
    ///
    /// Both are JSON arrays of what is written to the file: the first key seals, each opens. To replace one, put the
    /// new one first, then seal anew (smpctl connection reseal, regional-core reseal), then take the old one away.
    #[command(after_help = "Example:\n  smpctl at-rest-key --name 2026-11 --key connections.key")]
    #[expect(
        clippy::doc_markdown,
        reason = "the text of --help, which shows backticks as they are"
    )]
    AtRestKey {
        /// What to call it: lower-case letters, digits and hyphens. A new key gets a new name.
        #[arg(long, value_parser = connection_command::connection_id)]
        name: String,
        /// Where to write it. It must not be there yet.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// All regions on one live screen: route, health, master data, spool, dead letters, watermark, requests, and what is
    /// wrong with the command or page that mends it.
    ///
    /// On a terminal it is redrawn until q or Ctrl-C; else, or with --once, it is printed once, and exits with 1 if
    /// anything is wrong. It changes nothing. What cannot be asked (no token of ops, metrics that are out of reach) is
    /// shown as ?, which is not wrong.
    #[command(after_help = "Examples:
  \
        smpctl status                                       # by EDGE_URL and EDGE_OPS_TOKEN\n  \
        smpctl status --local                               # the platform of make up\n  \
        smpctl status --json | jq '.findings[] | select(.grade == \"wrong\")'")]
    Status(Box<status_command::Watch>),
    /// Ask the edge how it is, and look after records that no core would take.
    Edge {
        #[command(subcommand)]
        action: edge_command::Action,
        #[command(flatten)]
        access: edge_command::Access,
    },
    /// Look after the connections by which Pancake sends: add, rotate, revoke them, and change their mode.
    Connection {
        #[command(subcommand)]
        action: connection_command::Action,
        #[command(flatten)]
        rights: connection_command::Rights,
    },
    /// Take back what went wrong: a switch first, then the program, then the schema. Each looks first, says how long it
    /// took, and without --yes only shows.
    Rollback {
        #[command(subcommand)]
        action: rollback_command::Action,
    },
    /// Change a region's secret for another one, without a refused request.
    Rotate {
        #[command(subcommand)]
        action: rotate_command::Action,
        #[command(flatten)]
        access: edge_command::Access,
    },
    /// See the routes, flip a country to another region, pause and open a region, and take that back: each in one step.
    Route {
        #[command(subcommand)]
        action: route_command::Action,
        #[command(flatten)]
        place: route_command::Place,
    },
    /// Add a country to a region, and see what is missing before it is opened.
    Country {
        #[command(subcommand)]
        action: country_command::Action,
        #[command(flatten)]
        place: route_command::Place,
        #[command(flatten)]
        rights: country_command::Rights,
    },
    /// See the jobs of a country's core, and run one by hand: polling, reconciliation and the others.
    Job {
        #[command(subcommand)]
        action: job_command::Action,
        #[command(flatten)]
        whose: job_command::Whose,
    },
    /// See whether a wave of the pilot has shown what it has to before the next one begins. Exits with 1 if it has not.
    Gate {
        #[command(subcommand)]
        action: gate_command::Action,
        #[command(flatten)]
        pilot: gate_command::Pilot,
    },
    /// Add a region, see what it lacks, open it, remove it; back its database up, and restore it.
    Region {
        #[command(subcommand)]
        action: region_command::Action,
    },
    /// Mint a bearer token for local use, as an identity provider does in production.
    ///
    /// It is printed, and nothing else is. Whoever has it is who it says, until it expires.
    #[command(args_conflicts_with_subcommands = true)]
    #[command(after_help = "Examples:\n  \
        smpctl token keygen --key auth-key.pem --jwks jwks.json\n  \
        smpctl token --key .run/auth-key.pem --issuer smpctl --audience smp-asia --sub anna \\\n    \
        --role master_data_editor --country VN --ttl-secs 600")]
    Token {
        #[command(subcommand)]
        action: Option<TokenAction>,
        #[command(flatten)]
        mint: Option<MintArguments>,
    },
}

/// What a token says, and the key that signs it.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
struct MintArguments {
    /// The private key: Ed25519, PKCS#8 PEM.
    #[arg(long)]
    key: PathBuf,
    /// iss: the core's CORE_JWT_ISSUER.
    #[arg(long)]
    issuer: String,
    /// aud: the core's CORE_JWT_AUDIENCE.
    #[arg(long)]
    audience: String,
    /// sub: who it is.
    #[arg(long)]
    sub: String,
    /// What its holder may do; repeat it for more.
    #[arg(long)]
    role: Vec<String>,
    /// Which country its holder may act for; repeat it for more.
    #[arg(long)]
    country: Vec<protocol::Country>,
    /// How long it is good for, at most 3600.
    #[arg(long, default_value_t = token::LIFETIME_MAX_SECS)]
    ttl_secs: u64,
}

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
enum TokenAction {
    /// Make a private key, and the JSON Web Key Set of its public one for a core's CORE_JWKS.
    #[command(after_help = "Example:\n  \
        smpctl token keygen --key auth-key.pem --jwks jwks.json")]
    Keygen {
        /// Where to write the private key, for its owner only. It must not be there yet.
        #[arg(long)]
        key: PathBuf,
        /// Where to write the key set.
        #[arg(long)]
        jwks: PathBuf,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check {
            wrangler,
            regions,
            json,
        } => run_check(&wrangler, &regions, json),
        Command::Render {
            check,
            regions,
            into,
            json,
        } => run_render(&regions, &into, check, json),
        Command::SealingKey { name, opening_key } => {
            print_or_fail(make_sealing_key(&name, &opening_key))
        }
        Command::AtRestKey { name, key } => print_or_fail(make_at_rest_key(&name, &key)),
        Command::Status(watch) => status_command::run(*watch),
        Command::Edge { action, access } => edge_command::run(action, &access),
        Command::Connection { action, rights } => connection_command::run(action, &rights),
        Command::Route { action, place } => route_command::run(action, &place),
        Command::Country {
            action,
            place,
            rights,
        } => country_command::run(action, &place, &rights),
        Command::Rotate { action, access } => rotate_command::run(action, &access),
        Command::Job { action, whose } => job_command::run(action, &whose),
        Command::Rollback { action } => rollback_command::run(action),
        Command::Gate { action, pilot } => gate_command::run(action, &pilot),
        Command::Region { action } => region_command::run(action),
        Command::Token { action, mint } => print_or_fail(run_token(action, mint)),
    }
}

/// A text that says something, on one line: for a reader, or a line of a file.
fn one_line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > TEXT_LIMIT_BYTES
    {
        return Err(format!(
            "a text on one line, of {TEXT_LIMIT_BYTES} bytes at most, is expected"
        ));
    }
    Ok(text.trim().to_owned())
}

/// Longer than any reason or name.
const TEXT_LIMIT_BYTES: usize = 1_000;

/// Tells what is being done; standard output is the report's.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print_or_fail(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let _ = writeln!(std::io::stderr(), "smpctl: standard output: {error}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        },
        Err(mistake) => {
            let _ = writeln!(std::io::stderr(), "smpctl: {mistake}");
            ExitCode::FAILURE
        }
    }
}

/// What to print: the public half.
fn make_sealing_key(name: &str, opening_key: &Path) -> Result<String, String> {
    let key = OpeningKey::derive(name, &random()?).map_err(|error| error.to_string())?;
    write_secret(opening_key, &format!("{}\n", key.expose()))?;
    Ok(format!("{}\n", key.sealing_key()))
}

/// What to print: where it is.
fn make_at_rest_key(name: &str, file: &Path) -> Result<String, String> {
    let key = AtRestKeys::expose_key(name, &random()?);
    write_secret(file, &format!("{key}\n"))?;
    Ok(format!("{}\n", file.display()))
}

/// Bytes that nobody guesses.
fn random<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system has no randomness")?;
    Ok(bytes)
}

/// Writes a file that is not there yet, for its owner only.
fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What to print.
fn run_token(action: Option<TokenAction>, mint: Option<MintArguments>) -> Result<String, String> {
    let in_file =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if let Some(TokenAction::Keygen { key, jwks }) = action {
        let (made, pem) = token::SigningKey::generate().map_err(|error| error.to_string())?;
        write_secret(&key, &pem)?;
        fs::write(&jwks, made.jwks()).map_err(|error| in_file(&jwks, &error))?;
        return Ok(format!("{} {}\n", key.display(), jwks.display()));
    }
    let arguments = mint.ok_or("--key is missing")?;
    let pem =
        fs::read_to_string(&arguments.key).map_err(|error| in_file(&arguments.key, &error))?;
    let key = token::SigningKey::from_pem(&pem).map_err(|error| in_file(&arguments.key, &error))?;
    let claims = token::Claims {
        issuer: arguments.issuer,
        audience: arguments.audience,
        subject: arguments.sub,
        roles: arguments.role,
        countries: arguments.country.iter().map(ToString::to_string).collect(),
        ttl_secs: arguments.ttl_secs,
    };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_1970.map_err(|error| error.to_string())?.as_secs();
    let token = key.mint(&claims, now).map_err(|error| error.to_string())?;
    Ok(token + "\n")
}

fn run_render(regions: &Path, into: &Path, check_only: bool, as_json: bool) -> ExitCode {
    let (files, mistakes) = match render_files(regions, into, check_only) {
        Ok(files) => (files, Vec::new()),
        Err(mistakes) => (Vec::new(), mistakes),
    };
    let text = if as_json {
        format!("{:#}\n", json!({"files": files, "mistakes": mistakes}))
    } else {
        render_lines(&files, &mistakes, into, check_only)
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    let all_same = files.iter().all(|file| file.state == render::State::Same);
    if mistakes.is_empty() && (all_same || !check_only) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How the files were before anything was written.
fn render_files(
    regions: &Path,
    into: &Path,
    check_only: bool,
) -> Result<Vec<render::Comparison>, Vec<String>> {
    // Before anything is read: what another one writes now is to be rendered, too.
    let _alone = (!check_only)
        .then(|| lock(regions))
        .transpose()
        .map_err(|mistake| vec![mistake])?;
    let rendered = render::all(&registry::survey(regions))?;
    let in_folder = |error: std::io::Error| vec![format!("{}: {error}", into.display())];
    let files = render::compare(&rendered, into).map_err(in_folder)?;
    if !check_only {
        render::write(&rendered, &files, into).map_err(in_folder)?;
    }
    Ok(files)
}

fn render_lines(
    files: &[render::Comparison],
    mistakes: &[String],
    into: &Path,
    check_only: bool,
) -> String {
    let mut lines = Vec::new();
    for file in files {
        let path = into.join(&file.file);
        let written = match file.state {
            _ if check_only => "",
            render::State::Same => "",
            render::State::Changed | render::State::Missing => ": written",
            render::State::LeftOver => ": removed",
        };
        lines.push(format!(
            "{} {}{written}",
            path.display(),
            file.state.as_str()
        ));
        lines.extend(file.lines.iter().map(|line| format!("  {line}")));
    }
    lines.extend(mistakes.iter().map(|mistake| format!("mistake: {mistake}")));
    let differs = files.iter().any(|file| file.state != render::State::Same);
    if check_only && differs {
        lines.push("run 'smpctl render' (cargo run --bin smpctl -- render)".to_owned());
    }
    lines.join("\n") + "\n"
}

fn run_check(wrangler: &Path, regions: &Path, as_json: bool) -> ExitCode {
    let (environments, mut mistakes) = match fs::read_to_string(wrangler) {
        Ok(text) => check::read_environments(&text),
        Err(error) => (Vec::new(), vec![format!("{}: {error}", wrangler.display())]),
    };
    let registry = registry::survey(regions);
    let disagreements = check::disagreements(&environments, &registry);
    mistakes.extend(registry.mistakes);
    mistakes.extend(disagreements);
    let lines = check::route_lines(&environments);
    let text = if as_json {
        format!("{:#}\n", json!({"routes": lines, "mistakes": mistakes}))
    } else {
        table(&lines, &mistakes)
    };
    // Whoever closed the pipe does not read on; the exit code still tells.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if mistakes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn table(lines: &[check::RouteLine], mistakes: &[String]) -> String {
    let mut rows = vec![format!(
        "{:<12} {:>7}  {:<7} {:<12} {:<7} ORIGIN",
        "ENVIRONMENT", "VERSION", "COUNTRY", "REGION", "STATE"
    )];
    rows.extend(lines.iter().map(|line| {
        format!(
            "{:<12} {:>7}  {:<7} {:<12} {:<7} {}",
            line.environment, line.version, line.country, line.region, line.state, line.origin
        )
    }));
    rows.extend(mistakes.iter().map(|mistake| format!("mistake: {mistake}")));
    rows.push(if mistakes.is_empty() {
        "routes and registry agree".to_owned()
    } else {
        "not to be deployed".to_owned()
    });
    rows.join("\n") + "\n"
}
