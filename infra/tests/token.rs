//! `smpctl token`, as a person runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn smpctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("token")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_key_is_made_once_and_signs_tokens() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("token");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    let (key, jwks) = (folder.join("key.pem"), folder.join("jwks.json"));
    let (key_path, jwks_path) = (key.to_str().unwrap(), jwks.to_str().unwrap());
    let keygen = ["keygen", "--key", key_path, "--jwks", jwks_path];
    assert!(smpctl(&keygen).status.success());
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let pem = fs::read_to_string(&key).unwrap();
    assert!(!smpctl(&keygen).status.success(), "it would replace a key");
    assert_eq!(fs::read_to_string(&key).unwrap(), pem);
    assert!(fs::read_to_string(&jwks).unwrap().contains("\"Ed25519\""));

    let mint = |ttl_secs: &str| {
        smpctl(&[
            "--key",
            key_path,
            "--issuer",
            "smpctl",
            "--audience",
            "smp-asia",
            "--sub",
            "anna",
            "--role",
            "master_data_editor",
            "--country",
            "VN",
            "--country",
            "SG",
            "--ttl-secs",
            ttl_secs,
        ])
    };
    let token = String::from_utf8(mint("600").stdout).unwrap();
    assert_eq!(token.trim_end().split('.').count(), 3);
    assert_eq!(token.lines().count(), 1, "nothing else is printed");

    let too_long = mint("3601");
    assert!(!too_long.status.success() && too_long.stdout.is_empty());
    let errors = String::from_utf8(too_long.stderr).unwrap();
    assert!(errors.contains("1 to 3600 seconds"), "{errors}");
    // Whatever is wrong with it, a key is not shown.
    fs::write(&key, pem.replace("BEGIN PRIVATE", "BEGIN SECRET")).unwrap();
    let broken = mint("600");
    let errors = String::from_utf8(broken.stderr).unwrap();
    assert!(
        errors.contains("Ed25519") && !errors.contains("MC4C"),
        "{errors}"
    );

    let help = String::from_utf8(smpctl(&["--help"]).stdout).unwrap();
    assert!(
        help.contains("Examples:") && help.contains("--ttl-secs"),
        "{help}"
    );
    let nothing = smpctl(&[]);
    assert!(!nothing.status.success());
}
