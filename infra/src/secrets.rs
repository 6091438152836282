//! A region's secrets, as the operator keeps them: a folder with `edge.json`, and of each region the four files that
//! become its four Secrets on Kubernetes (docs/kubernetes.md).
//!
//! Pure: texts and randomness come in, texts go out. Each secret is made once, in the file of whoever it belongs to;
//! what others have to know of it is taken from there, so that whoever was interrupted ends up with the same.

use protocol::at_rest::AtRestKeys;
use protocol::sealed::{OpeningKey, SealingKey};
use serde_json::{Map, Value, json};

use crate::hex;
use crate::registry::Region;
use crate::rotate::{edge_file, env_file};

/// The Worker's secrets, as `wrangler secret bulk` takes them.
pub const EDGE: &str = "edge.json";

/// One of a region's four files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// What the core reads.
    Core,
    /// What makes the core's roles and database.
    CoreSetup,
    /// What the replicator reads.
    Replicator,
    /// What makes master data's roles.
    ReplicatorSetup,
}

impl File {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Core,
        Self::CoreSetup,
        Self::Replicator,
        Self::ReplicatorSetup,
    ];

    /// Its name in the region's folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core.env",
            Self::CoreSetup => "core-setup.env",
            Self::Replicator => "replicator.env",
            Self::ReplicatorSetup => "replicator-setup.env",
        }
    }

    /// What a spoke's must say.
    #[must_use]
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Core => &[
                "CORE_DATABASE_URL",
                HOP_SECRETS,
                "CORE_OPENING_KEYS",
                "CORE_AT_REST_KEYS",
            ],
            Self::CoreSetup => &["CORE_OWNER_DATABASE_URL"],
            Self::Replicator => &["REPLICATOR_APPLIER_DATABASE_URL", HUB_SECRETS],
            Self::ReplicatorSetup => &[
                "REPLICATOR_OWNER_DATABASE_URL",
                "REPLICATOR_RELAY_DATABASE_URL",
            ],
        }
    }
}

const HOP_SECRETS: &str = "CORE_HOP_SECRETS";
const HUB_SECRETS: &str = "REPLICATOR_HUB_SECRETS";
const REGION_SECRETS: &str = "REPLICATOR_REGION_SECRETS";

/// Settings of a core that are no secrets and the same for all: a new region takes them over from the hub's.
const TAKEN_OVER: [&str; 3] = ["CORE_JWKS", "CORE_JWT_ISSUER", "CORE_PANCAKE__URL"];

/// Where a region's database is.
#[derive(Clone)]
pub struct Database {
    /// `host` or `host:port`.
    authority: String,
    /// From `?` on.
    query: String,
    /// Of somebody who may make roles and databases, where that is not the operator of the cluster itself.
    admin: Option<String>,
}

impl Database {
    /// The name of every region's database.
    pub const NAME: &'static str = "smp";

    /// That of a region. `admin` is the administrator's URL where the provider runs the database.
    pub fn of(region: &Region, admin: Option<&str>) -> Result<Self, String> {
        if region.kubernetes.postgres.is_some() {
            return Ok(Self {
                authority: format!("postgres-rw.{}.svc", region.namespace()),
                query: "?sslmode=verify-full&sslrootcert=/etc/smp-global/postgres/ca.crt"
                    .to_owned(),
                admin: None,
            });
        }
        let wanted = "CORE_ADMIN_DATABASE_URL: the provider runs the database (no [kubernetes.postgres]), so its \
                      administrator's URL is needed: postgres://user:password@host/postgres?sslmode=verify-full";
        let admin = admin.ok_or(wanted)?;
        let (_, rest) = admin
            .split_once("://")
            .filter(|(scheme, _)| scheme.starts_with("postgres"))
            .ok_or(wanted)?;
        let (_, place) = rest.rsplit_once('@').ok_or(wanted)?;
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let query = path.find('?').and_then(|at| path.get(at..)).unwrap_or("");
        Ok(Self {
            authority: authority.to_owned(),
            query: query.to_owned(),
            admin: Some(admin.to_owned()),
        })
    }

    fn url(&self, role: &str, password: &[u8; 32]) -> String {
        let (authority, query) = (&self.authority, &self.query);
        let (password, name) = (hex(password), Self::NAME);
        format!("postgres://{role}:{password}@{authority}/{name}{query}")
    }
}

/// Makes one of a spoke's files. `hub_core` is the text of the hub's `core.env`, if there is one.
pub fn make(
    file: File,
    region: &Region,
    database: &Database,
    hub_core: Option<&str>,
    mut random: impl FnMut() -> Result<[u8; 32], String>,
) -> Result<String, String> {
    let id = &region.id;
    let name = format!("{id}-1");
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let admin = |variable| Some((variable, database.admin.clone()?));
    match file {
        File::Core => {
            pairs.push(("CORE_DATABASE_URL", database.url("core_app", &random()?)));
            pairs.push((HOP_SECRETS, json!({&name: hex(&random()?)}).to_string()));
            let opening = OpeningKey::derive(&name, &random()?);
            let opening = opening.map_err(|error| error.to_string())?;
            pairs.push(("CORE_OPENING_KEYS", opening.expose()));
            let at_rest = AtRestKeys::expose_key(&name, &random()?);
            pairs.push(("CORE_AT_REST_KEYS", json!([at_rest]).to_string()));
            for variable in TAKEN_OVER {
                let value = hub_core.map(|text| env_file::value(text, variable));
                let value = value.transpose().map_err(|mistake| mistake.text)?;
                if let Some(value) = value.flatten() {
                    pairs.push((variable, value.to_owned()));
                }
            }
            pairs.push(("CORE_JWT_AUDIENCE", id.to_string()));
        }
        File::CoreSetup => {
            let owner = database.url("core_owner", &random()?);
            pairs.push(("CORE_OWNER_DATABASE_URL", owner));
            pairs.extend(admin("CORE_ADMIN_DATABASE_URL"));
        }
        File::Replicator => {
            let applier = database.url("master_data_applier", &random()?);
            pairs.push(("REPLICATOR_APPLIER_DATABASE_URL", applier));
            pairs.push((HUB_SECRETS, json!({&name: hex(&random()?)}).to_string()));
        }
        File::ReplicatorSetup => {
            let owner = database.url("master_data_owner", &random()?);
            pairs.push(("REPLICATOR_OWNER_DATABASE_URL", owner));
            let relay = database.url("master_data_relay", &random()?);
            pairs.push(("REPLICATOR_RELAY_DATABASE_URL", relay));
            // Within the database, where the core's begins beside it.
            let within = database
                .admin
                .as_ref()
                .and_then(|admin| admin.rsplit_once('@'));
            pairs.extend(within.map(|(who, _)| {
                let (authority, query) = (&database.authority, &database.query);
                let url = format!("{who}@{authority}/{}{query}", Database::NAME);
                ("REPLICATOR_ADMIN_DATABASE_URL", url)
            }));
        }
    }
    let lines = pairs
        .into_iter()
        .map(|(variable, value)| format!("{variable}={value}\n"));
    Ok(lines.collect())
}

/// What a file that is there lacks.
pub fn lacks(file: File, text: &str) -> Result<Vec<&'static str>, String> {
    env_file::check_lines(text).map_err(|mistake| mistake.text)?;
    let mut missing = Vec::new();
    for variable in file.needs() {
        let value = env_file::value(text, variable).map_err(|mistake| mistake.text)?;
        if value.is_none() {
            missing.push(*variable);
        }
    }
    Ok(missing)
}

/// Whether a region's core, by its `core.env`, opens what is sealed to a key.
pub fn opens(core: &str, sealing_key: &SealingKey) -> Result<bool, String> {
    let keys = env_file::value(core, "CORE_OPENING_KEYS").map_err(|mistake| mistake.text)?;
    let mut keys = keys.unwrap_or_default().split_whitespace();
    Ok(keys.any(|key| {
        OpeningKey::parse(key)
            .is_ok_and(|key| key.sealing_key().to_string() == sealing_key.to_string())
    }))
}

/// To what the edge seals a region's records, by its `core.env`.
pub fn sealing_key(core: &str) -> Result<SealingKey, String> {
    let keys = env_file::value(core, "CORE_OPENING_KEYS").map_err(|mistake| mistake.text)?;
    let first = keys.and_then(|keys| keys.split_whitespace().next());
    let first = first.ok_or("CORE_OPENING_KEYS: it is missing")?;
    OpeningKey::parse(first)
        .map(|key| key.sealing_key())
        .map_err(|error| format!("CORE_OPENING_KEYS: {error}"))
}

/// The text of `edge.json` with a region's hop key, as its `core.env` has it; the same text if it has it already.
pub fn with_hop_key(edge: &str, region: &Region, core: &str) -> Result<String, String> {
    let keys = live_keys(core, HOP_SECRETS)?;
    if let Ok(known) = edge_file::key(edge, &region.id)
        && keys
            .iter()
            .any(|(keyid, secret)| (keyid, secret) == (&known.keyid, &known.secret))
    {
        return Ok(edge.to_owned());
    }
    let (keyid, secret) = keys.into_iter().next().ok_or("it is empty")?;
    let key = edge_file::Key { keyid, secret };
    edge_file::with_region(edge, &region.id, Some(&key)).map_err(|mistake| mistake.text)
}

/// The text of `edge.json` without a region's hop key.
pub fn without_hop_key(edge: &str, region: &Region) -> Result<String, String> {
    edge_file::with_region(edge, &region.id, None).map_err(|mistake| mistake.text)
}

/// The text of the hub's `replicator.env` with the key by which a region knows it, as the region's `replicator.env` has
/// it; the same text if it has it already.
pub fn with_region_key(hub: &str, region: &Region, replicator: &str) -> Result<String, String> {
    let keys = live_keys(replicator, HUB_SECRETS)?;
    let (keyid, secret) = keys.into_iter().next().ok_or("it is empty")?;
    let mut regions = region_secrets(hub)?;
    let key = json!({"keyid": keyid, "secret": secret});
    if regions.get(region.id.as_str()) == Some(&key) {
        return Ok(hub.to_owned());
    }
    regions.insert(region.id.to_string(), key);
    write_region_secrets(hub, regions)
}

/// The text of the hub's `replicator.env` without a region's key.
pub fn without_region_key(hub: &str, region: &Region) -> Result<String, String> {
    let mut regions = region_secrets(hub)?;
    match regions.remove(region.id.as_str()) {
        None => Ok(hub.to_owned()),
        Some(_) => write_region_secrets(hub, regions),
    }
}

/// The region's keys as whoever is asked knows them: `{"keyid": "secret"}`. No value is quoted in a mistake.
fn live_keys(text: &str, variable: &str) -> Result<Vec<(String, String)>, String> {
    let value = env_file::value(text, variable).map_err(|mistake| mistake.text)?;
    let value = value.ok_or_else(|| format!("{variable}: it is missing"))?;
    let keys: Map<String, Value> = serde_json::from_str(value)
        .map_err(|_| format!("{variable}: {{\"keyid\": \"secret\"}} is expected"))?;
    keys.into_iter()
        .map(|(keyid, secret)| match secret {
            Value::String(secret) => Ok((keyid, secret)),
            _ => Err(format!("{variable}: {keyid}: a text is expected")),
        })
        .collect()
}

fn region_secrets(hub: &str) -> Result<Map<String, Value>, String> {
    let value = env_file::value(hub, REGION_SECRETS).map_err(|mistake| mistake.text)?;
    serde_json::from_str(value.unwrap_or("{}")).map_err(|_| {
        format!("{REGION_SECRETS}: {{\"region\": {{\"keyid\", \"secret\"}}}} is expected")
    })
}

fn write_region_secrets(hub: &str, regions: Map<String, Value>) -> Result<String, String> {
    let regions = Value::Object(regions).to_string();
    env_file::with_value(
        hub,
        REGION_SECRETS,
        &regions,
        "REPLICATOR_RELAY_DATABASE_URL",
    )
    .map_err(|mistake| mistake.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Region {
        let text = include_str!("../regions/smp-china.toml");
        crate::registry::parse(text).unwrap()
    }

    fn made(file: File, hub_core: Option<&str>) -> String {
        let region = region();
        let database = Database::of(&region, None).unwrap();
        let mut count = 0_u8;
        make(file, &region, &database, hub_core, || {
            count += 1;
            Ok::<_, String>([count; 32])
        })
        .unwrap()
    }

    #[test]
    fn each_file_says_what_its_readers_need_and_no_two_secrets_are_the_same() {
        for file in File::ALL {
            let text = made(file, None);
            assert_eq!(lacks(file, &text).unwrap(), Vec::<&str>::new());
            assert_eq!(lacks(file, "").unwrap(), file.needs());
        }
        let core = made(File::Core, None);
        assert!(
            core.contains("@postgres-rw.smp-china.svc/smp?sslmode=verify-full&sslrootcert="),
            "{core}"
        );
        assert!(core.contains("CORE_JWT_AUDIENCE=smp-china\n"), "{core}");
        let key = sealing_key(&core).unwrap();
        assert!(opens(&core, &key).unwrap());
        let other = OpeningKey::derive("smp-china-1", &[99; 32]).unwrap();
        assert!(!opens(&core, &other.sealing_key()).unwrap());
    }

    #[test]
    fn what_is_no_secret_and_the_same_for_all_is_taken_over_from_the_hub_and_nothing_else() {
        let hub = "CORE_JWKS='https://id.example.com/jwks'\nCORE_JWT_ISSUER=id\nCORE_DATABASE_URL=postgres://hub\n";
        let core = made(File::Core, Some(hub));
        assert!(
            core.contains("CORE_JWKS=https://id.example.com/jwks\n"),
            "{core}"
        );
        assert!(core.contains("CORE_JWT_ISSUER=id\n"), "{core}");
        assert!(!core.contains("postgres://hub"), "{core}");
    }

    #[test]
    fn a_managed_database_is_where_its_administrator_is() {
        let mut region = region();
        region.kubernetes.postgres = None;
        let mistake = Database::of(&region, None).err().unwrap();
        assert!(
            mistake.starts_with("CORE_ADMIN_DATABASE_URL: "),
            "{mistake}"
        );
        let admin = "postgres://root:p@db.example.com:5433/postgres?sslmode=verify-full";
        let database = Database::of(&region, Some(admin)).unwrap();
        let setup: Result<_, String> =
            make(File::CoreSetup, &region, &database, None, || Ok([7; 32]));
        let setup = setup.unwrap();
        assert!(
            setup.contains("@db.example.com:5433/smp?sslmode=verify-full\n"),
            "{setup}"
        );
        assert!(
            setup.contains(&format!("CORE_ADMIN_DATABASE_URL={admin}\n")),
            "{setup}"
        );
        let setup: Result<_, String> =
            make(File::ReplicatorSetup, &region, &database, None, || {
                Ok([7; 32])
            });
        let within = "REPLICATOR_ADMIN_DATABASE_URL=postgres://root:p@db.example.com:5433/smp?sslmode=verify-full\n";
        assert!(setup.unwrap().contains(within));
        for bad in ["", "db.example.com", "https://a@b/c"] {
            assert!(Database::of(&region, Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_edge_and_the_hub_learn_a_regions_keys_once_and_forget_them_again() {
        let (region, core) = (region(), made(File::Core, None));
        let edge = "{\"OPS_TOKENS\": \"[]\", \"HOP_SECRETS\": \"{\\\"smp-asia\\\":{\\\"keyid\\\":\\\"a\\\",\\\"secret\\\":\\\"b\\\"}}\"}";
        let with = with_hop_key(edge, &region, &core).unwrap();
        assert_eq!(
            edge_file::key(&with, &region.id).unwrap().keyid,
            "smp-china-1"
        );
        assert_eq!(with_hop_key(&with, &region, &core).unwrap(), with);
        assert!(with.contains("smp-asia") && with.contains("OPS_TOKENS"));
        assert_eq!(without_hop_key(&with, &region).unwrap(), edge);
        assert_eq!(without_hop_key(edge, &region).unwrap(), edge);

        let replicator = made(File::Replicator, None);
        let hub = "REPLICATOR_RELAY_DATABASE_URL='x'\nREPLICATOR_REGION_SECRETS='{\"smp-eu\":{\"keyid\":\"e\",\"secret\":\"f\"}}'\n";
        let with = with_region_key(hub, &region, &replicator).unwrap();
        assert!(
            with.contains("\"smp-china\":{\"keyid\":\"smp-china-1\""),
            "{with}"
        );
        assert_eq!(with_region_key(&with, &region, &replicator).unwrap(), with);
        assert_eq!(without_region_key(&with, &region).unwrap(), hub);
        let first = with_region_key("A=1\n", &region, &replicator).unwrap();
        assert!(
            first.starts_with("A=1\nREPLICATOR_REGION_SECRETS={\"smp-china\""),
            "{first}"
        );
    }

    #[test]
    fn a_line_that_says_nothing_is_a_mistake_and_is_not_quoted() {
        let core = made(File::Core, None);
        for good in ["", "\n", "# a comment\n", "export A=1\n", "  B_2='x=y'\n"] {
            let text = format!("{good}{core}");
            assert_eq!(lacks(File::Core, &text).unwrap(), Vec::<&str>::new());
        }
        for bad in [
            "topsecret\n",
            "=topsecret\n",
            "2A=topsecret\n",
            "A B=topsecret\n",
        ] {
            let mistake = lacks(File::Core, &format!("\n{bad}{core}")).unwrap_err();
            assert_eq!(mistake, "line 2: KEY=value is expected");
        }
    }

    #[test]
    fn a_mistake_quotes_no_secret() {
        let region = region();
        for text in [
            "",
            "CORE_HOP_SECRETS=topsecret\n",
            "CORE_HOP_SECRETS={\"a\":[\"topsecret\"]}\n",
        ] {
            let mistake = with_hop_key("{}", &region, text).unwrap_err();
            assert!(
                mistake.contains("CORE_HOP_SECRETS") && !mistake.contains("topsecret"),
                "{mistake}"
            );
        }
    }
}
