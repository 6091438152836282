//! Commands that an operator names, by which something is put in force.

use std::process::{Command, Stdio};

/// A command as a shell reads it.
pub(crate) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text]);
    command
}

/// Runs a command to its end; the error says how that was. What it says goes to standard error: standard output is the
/// report's.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("cannot be run: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("ended with {status}"))
    }
}
