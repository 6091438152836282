//! The Worker's secrets on this machine.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};

use super::Platform;
use super::files::read_edge;
use crate::edge::{DEV_VARS, HOP_SECRETS, render_dev_vars};
use crate::process::Process;
use crate::secrets::write_private;
use crate::variables;

impl Platform<'_> {
    /// Gives the edge its secrets from `edge.json`, if they differ.
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
        ensure!(
            record.is_some_and(|record| Process::find("the edge", record).is_some()),
            "the edge does not run: 'make up' starts the platform"
        );
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

fn changed(path: &Path) -> Result<SystemTime> {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.with_context(|| format!("cannot look at {}", path.display()))
}
