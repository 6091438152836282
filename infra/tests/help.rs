//! Every command says how it is called, and prints JSON for programs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::process::Command;

/// Commands that print nothing for people, and why.
const WITHOUT_JSON: &[(&str, &str)] = &[
    ("sealing-key", "prints the public key and nothing else"),
    ("at-rest-key", "prints the file's name and nothing else"),
    ("token", "prints the token and nothing else"),
    ("token keygen", "prints the files' names and nothing else"),
    ("edge token", "prints JSON, whoever asks"),
];

fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands below one, by its own help.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // What stands further in goes on with the line above.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(ToOwned::to_owned)
        .collect()
}

/// Each command that does something itself, with its help.
fn walk(command: &[String], leaves: &mut Vec<(String, String)>) {
    let help = help(command);
    let below = subcommands(&help);
    let usage = help.lines().find(|line| line.starts_with("Usage:"));
    let does_something = below.is_empty() || !usage.unwrap().ends_with("<COMMAND>");
    if does_something && !command.is_empty() {
        leaves.push((command.join(" "), help));
    }
    for name in below {
        walk(&[command, &[name]].concat(), leaves);
    }
}

#[test]
fn each_command_has_an_example_and_json() {
    let mut leaves = Vec::new();
    walk(&[], &mut leaves);
    assert!(leaves.len() > 40, "{} commands were found", leaves.len());
    let lacking = |text: &str| {
        let lacking = leaves.iter().filter(|(_, help)| !help.contains(text));
        lacking
            .map(|(command, _)| command.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lacking("Example"),
        Vec::<&str>::new(),
        "they have no example"
    );
    let without: Vec<_> = WITHOUT_JSON.iter().map(|(command, _)| *command).collect();
    let mut without_json = lacking("--json");
    without_json.retain(|command| !without.contains(command));
    assert_eq!(without_json, Vec::<&str>::new(), "they have no --json");
    let known = |command: &&&str| leaves.iter().any(|(known, _)| known == **command);
    assert_eq!(
        without.iter().filter(known).count(),
        without.len(),
        "an exception is of no command"
    );
}
