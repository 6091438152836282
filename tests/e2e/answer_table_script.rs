//! The answer table once more, by a script of curl and openssl that shares no code with the project.

use std::path::Path;
use std::process::Command;

use crate::support::{lifetime, system};

#[tokio::test]
async fn curl_and_openssl_find_the_answer_table_as_it_is_written() {
    let environment = lifetime::run_directory().join("platform.env");
    std::fs::write(&environment, system().await.env_file()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent/answer_table.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg(&environment)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(rows >= 40, "only {rows} rows:\n{text}");
}
