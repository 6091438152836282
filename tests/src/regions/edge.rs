//! The Worker's secrets on this machine.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::Platform;
use super::files::read_edge;
use crate::edge::{DEV_VARS, HOP_SECRETS, render_dev_vars};
use crate::process::Process;
use crate::process::alive::end_writers;
use crate::process::record::Record;
use crate::secrets::write_private;
use crate::{platform_env, variables};

impl Platform<'_> {
    /// Gives the edge its secrets from `edge.json`, if they differ, and starts it again if it has ended.
    pub fn apply_edge(&self, secrets: &Path) -> Result<()> {
        let wanted = read_edge(secrets)?;
        ensure!(
            wanted.contains_key(HOP_SECRETS),
            "{}/edge.json: {HOP_SECRETS} is not set",
            secrets.display()
        );
        for (name, value) in &wanted {
            ensure!(
                !value.contains(['\'', '\n', '\r']),
                "{}/edge.json: {name}: a value on one line without a quote is expected",
                secrets.display()
            );
        }
        let record = self.records.find("edge")?;
        let record = record.context("the edge never ran: 'make up' starts the platform")?;
        let path = self.run.join(DEV_VARS);
        let there = variables::read(&path)?;
        let differs = wanted
            .iter()
            .any(|(name, value)| there.get(name) != Some(value));
        if differs {
            let mut all = there;
            all.extend(wanted);
            write_private(&path, &render_dev_vars(&all))?;
        }
        if Process::find("the edge", record.clone()).is_none() {
            return self.start_edge_again(&record);
        }
        // wrangler watches its settings only, and reads the secrets again when they change.
        let settings = self.run.join("wrangler.toml");
        if differs || changed(&path)? > changed(&settings)? {
            let text = fs::read_to_string(&settings)
                .with_context(|| format!("cannot read {}", settings.display()))?;
            fs::write(&settings, text)
                .with_context(|| format!("cannot write {}", settings.display()))?;
            (self.progress)("edge: has its secrets anew");
        } else {
            (self.progress)("edge: has these secrets");
        }
        Ok(())
    }
}

impl Platform<'_> {
    fn start_edge_again(&self, record: &Record) -> Result<()> {
        (self.progress)("edge: it has ended; starting it again");
        // What is left of it has its port still.
        end_writers(&record.log, Signal::SIGTERM, STOP_PATIENCE);
        let mut process = Process::start("the edge", record.launch.command(), &record.log)?;
        let addresses = variables::read(&self.run.join(platform_env::FILE))?;
        let url = addresses.get("EDGE_URL");
        let url = url.context("platform.env has no EDGE_URL")?;
        let agent = infra::edge::agent(ASK_PATIENCE);
        let began = Instant::now();
        while agent.get(format!("{url}/healthz")).call().is_err() {
            ensure!(
                process.is_running()? && began.elapsed() < START_PATIENCE,
                "the edge does not come up:\n{}",
                process.log_tail()
            );
            sleep(Duration::from_millis(100));
        }
        self.records.write("edge", &process.record())?;
        process.detach();
        (self.progress)("edge: up");
        Ok(())
    }
}

/// On a machine that is busy with other things, too.
const START_PATIENCE: Duration = Duration::from_mins(2);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const ASK_PATIENCE: Duration = Duration::from_secs(2);

fn changed(path: &Path) -> Result<SystemTime> {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.with_context(|| format!("cannot look at {}", path.display()))
}
