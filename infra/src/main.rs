//! `smpctl`, the operator's command.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use infra::{check, registry};
use serde_json::json;

/// Operate SMP Global: routes and regions.
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
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check {
            wrangler,
            regions,
            json,
        } => run_check(&wrangler, &regions, json),
    }
}

fn run_check(wrangler: &std::path::Path, regions: &std::path::Path, as_json: bool) -> ExitCode {
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
