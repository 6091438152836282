//! `smpctl`, the operator's command.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use infra::{check, registry, render};
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
    /// Make the files that come from the region registry: MirrorMaker 2's settings, one file a spoke region.
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
    }
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
