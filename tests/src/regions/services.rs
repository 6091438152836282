//! The second stage: a region's core, its replicator and, behind the hub, its MirrorMaker 2.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use infra::registry::{Region, Spool};
use infra::route::local::{self, CORES_FILE};
use protocol::RegionId;
use protocol::sealed::OpeningKey;
use serde_json::Value;

use super::files::Files;
use super::{Platform, Registry, not_up, write_whole};
use crate::kafka::KafkaUser;
use crate::mirror::Plan;
use crate::platform_env::{self, CoreLines};
use crate::process::record::Launch;
use crate::secrets::{ISSUER, Issuer, write_private};
use crate::service::{Core, CorePlace, Replicator, ReplicatorPlace, Secrets, local_url};
use crate::sites::ensure_free;
use crate::variables::{Variables, on_this_machine};

impl Platform<'_> {
    /// Starts a region's services, or again those that should run otherwise than they do, and waits until its core is
    /// ready. Its stores must be up.
    pub async fn start_services(
        &self,
        id: &RegionId,
        registry: &Registry,
        files: &Files,
    ) -> Result<()> {
        let region = registry.find(id)?;
        let hub = registry.hub()?;
        let is_hub = region.id == *hub;
        self.ensure_up()?;
        ensure!(self.runs(id, "postgres")?, not_up(id, "PostgreSQL"));
        let kafka = self.kafka(id).await?;
        let site = self.site(id)?;

        let mut core_secrets = files.core(id, is_hub)?;
        let mut settings = self.settings_of_this_platform(id, hub)?;
        settings.append(&mut core_secrets.serving);
        core_secrets.serving = settings;
        let core = Core::new(
            CorePlace {
                region: id,
                countries: &region.countries,
                port: site.core_port,
                server: site.server.clone(),
                log: self.log(id, "core"),
            },
            &core_secrets,
        )?;
        let replicator_secrets = files.replicator(id, is_hub)?;
        let user = if is_hub {
            KafkaUser::Relay
        } else {
            KafkaUser::Applier
        };
        let replicator = Replicator::new(
            ReplicatorPlace {
                region: id,
                is_hub,
                port: site.replicator_port,
                server: site.server.clone(),
                kafka: kafka.bootstrap(),
                credentials: kafka.credentials(user),
                regions: is_hub
                    .then(|| self.asked_here(hub, files, &replicator_secrets))
                    .transpose()?,
                log: self.log(id, "replicator"),
            },
            &replicator_secrets,
        )?;

        if !is_hub {
            self.say(id, "roles, database, schemas");
            core.prepare()?;
            replicator.prepare()?;
        }
        if self.is_to_start(id, "core", &Launch::of(&core.command()?))? {
            ensure_free(site.core_port, id, "core")?;
            self.keep(id, "core", &mut core.start().await?)?;
        }
        if self.is_to_start(id, "replicator", &Launch::of(&replicator.command()?))? {
            ensure_free(site.replicator_port, id, "replicator")?;
            self.keep(id, "replicator", &mut replicator.start().await?)?;
        }
        if !is_hub {
            let (rendered, log) = (files.mirror(id), self.log(id, "mirror"));
            let plan = Plan::new(&rendered, &self.kafka(hub).await?, &kafka, &log)?;
            if !plan.is_written() {
                self.stop(id, "mirror")?;
            }
            if self.is_to_start(id, "mirror", &Launch::of(&plan.command()?))? {
                self.keep(id, "mirror", plan.start().await?.process())?;
            }
        }
        self.list_core(region, site.core_port, &core_secrets)?;
        let secrets = (&core_secrets, &replicator_secrets);
        self.list_addresses(region, &kafka.bootstrap(), secrets)?;
        self.say(id, "its services are up");
        Ok(())
    }

    /// Whether something does not run as it should. If it runs otherwise, it is stopped.
    fn is_to_start(&self, id: &RegionId, what: &str, launch: &Launch) -> Result<bool> {
        let running = self.find(id, what)?;
        match running {
            Some(process) if process.launch() == launch => {
                self.say(id, &format!("{what} runs as it should"));
                return Ok(false);
            }
            Some(_) => self.say(id, &format!("{what} has other settings: starting it again")),
            None => self.say(id, &format!("starting {what}")),
        }
        self.stop(id, what)?;
        Ok(true)
    }

    /// What differs from the defaults on this machine, unless the region's own file says so: who issues tokens, and
    /// where Pancake is.
    fn settings_of_this_platform(&self, id: &RegionId, hub: &RegionId) -> Result<Variables> {
        let mut settings = Variables::new();
        let jwks = self.run.join("jwks.json");
        if jwks.exists() {
            settings.extend([
                ("CORE_JWKS".to_owned(), jwks.display().to_string()),
                ("CORE_JWT_ISSUER".to_owned(), ISSUER.to_owned()),
                ("CORE_JWT_AUDIENCE".to_owned(), id.to_string()),
            ]);
        }
        let pancake = "CORE_PANCAKE__URL";
        if let Some(core) = self.find(hub, "core")?
            && let Some(url) = core.launch().variable(pancake)
        {
            settings.insert(pancake.to_owned(), url.to_owned());
        }
        Ok(settings)
    }

    /// Whom the hub's relay asks: of those that are rendered, each that is up, at its address here.
    fn asked_here(&self, hub: &RegionId, files: &Files, secrets: &Secrets) -> Result<String> {
        let keys = "REPLICATOR_REGION_SECRETS";
        let in_file = format!("{}/{hub}/replicator.env: {keys}", files.secrets.display());
        let document = secrets.serving.get(keys).map_or("", String::as_str);
        // serde's own text may quote a value, and each is a secret.
        let known: Option<BTreeMap<String, Value>> = serde_json::from_str(document).ok();
        let known = known.with_context(|| format!("{in_file}: a JSON object is expected"))?;
        let mut asked = Vec::new();
        for id in files.asked_by(hub)? {
            if !self.runs(&id, "postgres")? {
                self.say(hub, &format!("{id} does not run here, and is not asked"));
                continue;
            }
            ensure!(
                known.contains_key(id.as_str()),
                "{in_file}: no key for {id}: add the one that is in {id}/replicator.env"
            );
            let port = self.site(&id)?.replicator_port;
            asked.push(format!("{id}={}", local_url(port)));
        }
        Ok(asked.join(" "))
    }

    /// Tells `smpctl route --local` of the core.
    fn list_core(&self, region: &Region, port: u16, secrets: &Secrets) -> Result<()> {
        let path = self.run.join(CORES_FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut cores: BTreeMap<String, local::Core> =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let sealing_key = match region.spool {
            Spool::Sealed => Some(sealing_key(&region.id, &secrets.serving)?),
            Spool::Off => None,
        };
        let core = local::Core {
            origin: local_url(port),
            sealing_key,
        };
        if cores.get(region.id.as_str()) != Some(&core) {
            cores.insert(region.id.to_string(), core);
            write_whole(&path, &serde_json::to_string_pretty(&cores)?)?;
        }
        Ok(())
    }

    /// Writes the region's lines into `platform.env`, if they are not there as they should be.
    fn list_addresses(
        &self,
        region: &Region,
        kafka: &str,
        (secrets, replicator): (&Secrets, &Secrets),
    ) -> Result<()> {
        let id = &region.id;
        let site = self.site(id)?;
        let url = |variables: &Variables, name: &str| {
            let url = variables.get(name).map_or("", String::as_str);
            on_this_machine(name, url, site.server.port)
        };
        let (keyid, secret) = hop_key(id, &secrets.serving)?;
        let token = Issuer::open(&self.run)?.admin_token(id, &region.countries)?;
        let core = platform_env::core_lines(&CoreLines {
            id,
            url: &local_url(site.core_port),
            owner_url: &url(&secrets.setup, "CORE_OWNER_DATABASE_URL")?,
            app_url: &url(&secrets.serving, "CORE_DATABASE_URL")?,
            keyid: &keyid,
            secret: &secret,
            admin_token: Some(&token),
        });
        let replicator_url = local_url(site.replicator_port);
        let owner = url(&replicator.setup, "REPLICATOR_OWNER_DATABASE_URL")?;
        let lines = core + &platform_env::master_data_lines(id, kafka, &replicator_url, &owner);
        let path = self.run.join(platform_env::FILE);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let there = platform_env::lines_without_token(&text, id);
        if there == platform_env::lines_without_token(&lines, id) {
            return Ok(());
        }
        write_private(&path, &(platform_env::without(&text, id) + &lines))
    }
}

/// The public half of the first key, to which the edge seals.
fn sealing_key(id: &RegionId, core: &Variables) -> Result<String> {
    let name = "CORE_OPENING_KEYS";
    let keys = core.get(name).map_or("", String::as_str);
    let first = keys.split_ascii_whitespace().next().unwrap_or_default();
    let key = OpeningKey::parse(first).with_context(|| format!("{id}/core.env: {name}"))?;
    Ok(key.sealing_key().to_string())
}

/// The name and the secret of a hop's key.
fn hop_key(id: &RegionId, core: &Variables) -> Result<(String, String)> {
    let name = "CORE_HOP_SECRETS";
    let document = core.get(name).map_or("", String::as_str);
    let keys: Option<BTreeMap<String, String>> = serde_json::from_str(document).ok();
    keys.and_then(|keys| keys.into_iter().next())
        .with_context(|| format!("{id}/core.env: {name}: {{\"keyid\": \"secret\"}} is expected"))
}
