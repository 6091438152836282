//! The members' programs, which make roles, database and schema.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use infra::backup::archive::Migrations;
use infra::registry::{Region, Role};

/// Where they are.
pub(super) struct Programs {
    pub(super) core: PathBuf,
    pub(super) replicator: PathBuf,
}

/// Makes roles, database and schema, as far as a backup's migrations went. Each of these may run again.
pub(super) fn prepare(
    programs: &Programs,
    region: &Region,
    migrations: &[Migrations],
) -> Result<Vec<String>, String> {
    let mut steps = Vec::new();
    let mut step = |program: &Path, option: &str, arguments: &[&str]| {
        let did = run(program, option, region, arguments)?;
        steps.push(did);
        Ok::<(), String>(())
    };
    step(&programs.core, "--core", &["bootstrap"])?;
    for kept in migrations {
        let version = kept.version().to_string();
        match kept.table.schema.as_str() {
            "smp_global" => {
                let part = match region.role {
                    Role::Hub => "hub",
                    Role::Spoke => "region",
                };
                let program = &programs.replicator;
                step(program, "--replicator", &["provision"])?;
                let arguments = ["migrate", "--part", part, "--to", &version];
                step(program, "--replicator", &arguments)?;
            }
            _ => step(
                &programs.core,
                "--core",
                &["migrate", "up", "--to", &version],
            )?,
        }
    }
    Ok(steps)
}

fn run(
    program: &Path,
    option: &str,
    region: &Region,
    arguments: &[&str],
) -> Result<String, String> {
    let name = program
        .file_name()
        .unwrap_or_else(|| OsStr::new(""))
        .to_string_lossy();
    let said = format!("{name} {}", arguments.join(" "));
    // What they need they read from their own variables; which region it is, nobody should say twice.
    let output = Command::new(program)
        .args(arguments)
        .env("REPLICATOR_REGION", region.id.as_str())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}; {option} says where it is", program.display()))?;
    if output.status.success() {
        return Ok(said);
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{said}: {}", why.trim()))
}
