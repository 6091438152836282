//! `smpctl sealing-key`, as a person runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use protocol::sealed::{OpeningKey, SealingKey};

fn smpctl(name: &str, opening_key: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .args(["sealing-key", "--name", name, "--opening-key"])
        .arg(opening_key)
        .output()
        .unwrap()
}

#[test]
fn a_pair_is_made_once_and_only_its_public_half_is_printed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sealing-key");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("opening-key");
    let made = smpctl("smp-asia-2", &file);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let public = SealingKey::parse(str::from_utf8(&made.stdout).unwrap().trim_end()).unwrap();
    let written = fs::read_to_string(&file).unwrap();
    let private = OpeningKey::parse(written.trim_end()).unwrap();
    assert_eq!(private.sealing_key(), public);

    let again = smpctl("smp-asia-2", &file);
    assert!(!again.status.success(), "it would replace a key");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    let other = smpctl("smp-asia-2", &folder.join("other"));
    assert_ne!(other.stdout, made.stdout);
}

#[test]
fn a_name_that_would_need_escaping_is_refused_before_anything_is_written() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-sealing-key");
    let refused = smpctl("Smp Asia", &file);
    assert_eq!(refused.status.code(), Some(1));
    let text = str::from_utf8(&refused.stderr).unwrap();
    assert!(text.contains("lower-case letters"), "{text}");
    assert!(!file.exists());
}
