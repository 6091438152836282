//! The files that a region is brought up from: what is rendered, and the secrets.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use protocol::RegionId;

use crate::hand_over::EDGE_FILE;
use crate::service::{REGIONS, Secrets};
use crate::variables::{self, Variables};

/// Where they are.
#[derive(Debug)]
pub struct Files {
    /// What `smpctl render` made.
    pub rendered: PathBuf,
    /// The secrets, a folder for each region.
    pub secrets: PathBuf,
}

impl Files {
    /// What a core is given.
    pub(super) fn core(&self, id: &RegionId, is_hub: bool) -> Result<Secrets> {
        let serving = [
            "CORE_DATABASE_URL",
            "CORE_HOP_SECRETS",
            "CORE_OPENING_KEYS",
            "CORE_AT_REST_KEYS",
            "CORE_EDITOR_DATABASE_URL",
        ];
        let serving = if is_hub { &serving[..] } else { &serving[..4] };
        self.read(id, "core", serving, &["CORE_OWNER_DATABASE_URL"])
    }

    /// What a replicator is given.
    pub(super) fn replicator(&self, id: &RegionId, is_hub: bool) -> Result<Secrets> {
        let owner = "REPLICATOR_OWNER_DATABASE_URL";
        let (relay, applier) = (
            "REPLICATOR_RELAY_DATABASE_URL",
            "REPLICATOR_APPLIER_DATABASE_URL",
        );
        if is_hub {
            let serving = [relay, "REPLICATOR_REGION_SECRETS"];
            self.read(id, "replicator", &serving, &[owner, applier])
        } else {
            let serving = [applier, "REPLICATOR_HUB_SECRETS"];
            self.read(id, "replicator", &serving, &[owner, relay])
        }
    }

    /// Two files, each of which must set some variables.
    fn read(
        &self,
        id: &RegionId,
        program: &str,
        serving: &[&str],
        setup: &[&str],
    ) -> Result<Secrets> {
        let folder = self.secrets.join(id.as_str());
        let read = |file: String, names: &[&str]| {
            let path = folder.join(file);
            let variables = variables::read(&path)?;
            for name in names {
                ensure!(
                    variables.get(*name).is_some_and(|value| !value.is_empty()),
                    "{}: {name} is not set (docs/kubernetes.md says what it is)",
                    path.display()
                );
            }
            Ok(variables)
        };
        Ok(Secrets {
            serving: read(format!("{program}.env"), serving)?,
            setup: read(format!("{program}-setup.env"), setup)?,
        })
    }

    /// The settings of a spoke's MirrorMaker 2.
    pub(super) fn mirror(&self, id: &RegionId) -> PathBuf {
        self.rendered.join(format!("mm2-{id}.properties"))
    }

    /// The regions that the hub's relay asks, in their order.
    pub(super) fn asked_by(&self, hub: &RegionId) -> Result<Vec<RegionId>> {
        let path = self.rendered.join(format!("relay-{hub}.env"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: run 'smpctl render'", path.display()))?;
        read_asked(&text)
            .with_context(|| format!("{}: {REGIONS}: run 'smpctl render'", path.display()))
    }
}

/// The ids of `REPLICATOR_REGIONS="id=origin id=origin"`.
fn read_asked(text: &str) -> Result<Vec<RegionId>> {
    let value = text.lines().find_map(|line| {
        let value = line.strip_prefix(REGIONS)?.strip_prefix('=')?;
        Some(value.trim_matches('"'))
    });
    let ids = value.context("it is not there")?.split_whitespace();
    ids.map(|entry| {
        let (id, _) = entry.split_once('=').context("id=origin is expected")?;
        Ok(RegionId::parse(id)?)
    })
    .collect()
}

/// The Worker's secrets.
pub(super) fn read_edge(secrets: &Path) -> Result<Variables> {
    let path = secrets.join(EDGE_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: is --secrets right?", path.display()))?;
    // serde's own text may quote a value, and each is a secret.
    serde_json::from_str(&text).ok().with_context(|| {
        format!(
            "{}: a JSON object of texts is expected, as 'wrangler secret bulk' takes it",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_whom_the_relay_asks_are_read_from_what_is_rendered() {
        let text = "# a comment\nREPLICATOR_REGIONS=\"smp-china=https://c.example smp-us=https://u.example\"\n";
        let ids = read_asked(text).unwrap();
        let ids: Vec<_> = ids.iter().map(RegionId::as_str).collect();
        assert_eq!(ids, ["smp-china", "smp-us"]);
        assert!(read_asked("REPLICATOR_REGIONS=\"\"\n").unwrap().is_empty());
        assert!(read_asked("").is_err());
        assert!(read_asked("REPLICATOR_REGIONS=\"smp-china\"\n").is_err());
    }
}
