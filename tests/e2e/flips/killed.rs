//! `smpctl route` killed on a running platform. Wherever else it can be killed, `infra/tests/route.rs` does.

use std::process::Stdio;
use std::time::Instant;

use serde_json::json;
use toml::Table;

use super::moving::{Moving, in_full};

/// Where in a change it is killed, as shares of the time that a whole one takes.
const MOMENTS: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0];

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_running_platform_the_same_change_is_made_once_and_wrangler_reads_no_half_file()
{
    let moving = Moving::start("flips-killed").await;
    let before = moving.text("routes.toml");
    let began = Instant::now();
    // In its registry TH is smp-china's already, and no replicator runs.
    moving.does(&["pause", "smp-china", "--force"]).await;
    let whole = began.elapsed();
    let changes = ["open", "pause"].map(|verb| [verb, "smp-china", "--force"]);
    for (version, (moment, change)) in (3..).zip(MOMENTS.into_iter().zip(changes.iter().cycle())) {
        let mut killed = moving
            .command(&in_full(change))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(whole.mul_f64(moment)).await;
        // If it had ended already, it is the same command once more all the same.
        let _ = killed.kill().await;
        // Whatever stands there is whole, or what is to stand there lies beside it.
        let running = infra::route::running::read(&moving.folder.join("wrangler.toml")).unwrap();
        assert!(running.parse::<Table>().is_ok(), "{running}");

        let done = moving.does(change).await;
        assert_eq!(done["version"][1], version, "{moment} {done}");
        let state = if change[0] == "open" {
            "open"
        } else {
            "paused"
        };
        let table = before.replacen("version = 1 ", &format!("version = {version} "), 1);
        let (rest, china) = table.split_once("[vars.ROUTES.regions.smp-china]").unwrap();
        let china = china.replacen("state = \"open\"", &format!("state = \"{state}\""), 1);
        let expected = format!("{rest}[vars.ROUTES.regions.smp-china]{china}");
        assert_eq!(moving.text("routes.toml"), expected);
        let history = moving.history().await;
        let versions: Vec<_> = history.iter().map(|past| &past["version"]).collect();
        assert_eq!(json!(versions), json!((2..=version).collect::<Vec<_>>()));
        let are_confirmed = history.iter().all(|past| past["confirmed"].is_object());
        assert!(are_confirmed, "{history:?}");
    }
}
