//! The guides, word for word: a guide's blocks of commands become a script, and nothing else is run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use platform::checkout;
use platform::ports::Ports;
use platform::system::System;

use crate::support::lifetime;

/// What stands between a guide's lines of `sh` and `` ``` ``, in their order.
fn blocks(guide: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in guide.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(block), line) => block.extend([line, "\n"]),
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "a block of the guide has no end");
    blocks
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// All files below a folder, with what is in them.
fn tree(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// A checkout as whoever follows a guide has it: the routes and the registry are copies, for they are changed.
fn checkout_beside(run: &Path) -> PathBuf {
    let folder = run.join("checkout");
    fs::create_dir_all(&folder).unwrap();
    let root = checkout::root();
    for name in ["wrangler.toml", "infra/regions", "infra/rendered"] {
        fs::create_dir_all(folder.join("infra")).unwrap();
        copy(&root.join(name), &folder.join(name));
    }
    symlink(run, folder.join(".run")).unwrap();
    // Where the programs are that this test was built with.
    let programs = checkout::built_program("smpctl").unwrap();
    fs::create_dir_all(folder.join("target")).unwrap();
    symlink(programs.parent().unwrap(), folder.join("target/debug")).unwrap();
    folder
}

/// The blocks of a guide, from a heading on.
fn blocks_of(guide: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(checkout::root().join(guide)).unwrap();
    let from = text.find(heading);
    let from = from.unwrap_or_else(|| panic!("{guide} has no {heading}"));
    blocks(&text[from..])
}

/// Runs blocks as one script; gives what it said, and how long it took.
fn run(checkout: &Path, blocks: &[String]) -> (String, Duration) {
    let began = Instant::now();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks.concat()])
        .current_dir(checkout)
        .env_remove("EDGE_URL")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}:\n{said}", output.status);
    (said, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_guides_a_region_opens_and_goes_again_and_a_country_is_added() {
    let _run = lifetime::run_directory();
    let name = format!("{}/guides", lifetime::NAME);
    let mut system = System::start(&name, Ports::Free, |_| ()).await.unwrap();
    system
        .start_master_data(&name, Ports::Free, |_| ())
        .await
        .unwrap();
    system.hand_over().unwrap();
    let checkout = checkout_beside(system.directory());
    let before = tree(&checkout.join("infra"));
    // A run before this one may have failed, and its database lies elsewhere.
    let purged = Command::new(checkout.join("target/debug/platform"))
        .args(["region", "down", "smp-us", "--purge"])
        .current_dir(&checkout)
        .output()
        .unwrap();
    assert!(purged.status.success(), "{purged:?}");

    let blocks = blocks_of("docs/open-a-region.md", "");
    assert!(blocks.len() >= 5, "the guide has {} blocks", blocks.len());
    let (opening, taking_back) = blocks.split_at(blocks.len() - 1);
    let run = |blocks: &[String]| run(&checkout, blocks);

    let (said, took) = run(opening);
    println!("the guide's commands took {:.1} s", took.as_secs_f64());
    assert!(said.contains("smp-us could serve"), "{said}");
    assert!(
        said.contains("done: the edge answers with version"),
        "{said}"
    );
    assert!(said.contains("its route is open"), "{said}");
    // The smoke test's record is in the new region.
    let response = reqwest::Client::new()
        .get(format!("{}/api/region", system.edge.url))
        .header("x-country-code", "US")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let answer: serde_json::Value = response.json().await.unwrap();
    assert_eq!(answer["region"], "smp-us");
    for region in &system.regions {
        let database = region.database().await.unwrap();
        let of_us: i64 = sqlx::query_scalar(
            "select count(*) from pancake_webhook_event where country_code = 'US'",
        )
        .fetch_one(&database)
        .await
        .unwrap();
        assert_eq!(of_us, 0, "{} has events of the United States", region.id);
    }

    // Another shell, which is set up by the guide's own lines.
    let mut lines = opening
        .iter()
        .flat_map(|block| block.lines())
        .collect::<Vec<_>>();
    lines.retain(|line| line.starts_with("export ") || line.starts_with("set -a"));
    let set_up = [lines.join("\n") + "\n"];
    let (said, _) = run(&[&set_up, taking_back].concat());
    assert!(said.contains("smp-us is gone"), "{said}");
    assert_eq!(
        tree(&checkout.join("infra")),
        before,
        "no other region was touched"
    );
    let routes = fs::read_to_string(checkout.join("wrangler.toml")).unwrap();
    assert!(!routes.contains("smp-us"), "{routes}");

    // On the same platform, as it takes a while to start one.
    let blocks = blocks_of("docs/open-a-country.md", "## Try it on this machine");
    let (said, _) = run(&blocks);
    assert!(said.contains("LA is added, and paused"), "{said}");
    assert!(
        said.contains("done: the edge answers with version"),
        "{said}"
    );
    let files = tree(&checkout.join("infra"));
    assert_eq!(files, before, "the checkout itself is as it was");
}
