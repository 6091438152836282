//! The key to which a region's records are sealed while they wait at the edge: its private half in the core's
//! `CORE_OPENING_KEYS`, its public half in the route table.
//!
//! A record that was sealed with the old key can be opened with nothing else. So the old one goes only when nothing
//! waits, or lies parked, that may have been sealed with it.

use protocol::RegionId;
use protocol::hop::HopKey;
use protocol::routes::{RouteTable, Spool};
use protocol::sealed::{OpeningKey, RANDOMNESS_BYTES, SealingKey};

use super::routes_file::{routes, with_sealing_key};
use super::{Edit, File, Mistake, Stage, env_file, hop, propose_name};

const OPENING: &str = "CORE_OPENING_KEYS";

/// What is wanted: this key alone, for this region.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'r> {
    /// The region.
    pub region: &'r RegionId,
    /// The name of its key in the end.
    pub to: &'r str,
    /// Whose routes in `wrangler.toml`.
    pub environment: &'r str,
}

/// How far that is, and by what it can be seen what is in force.
#[derive(Debug)]
pub struct Standing {
    /// How far.
    pub stage: Stage,
    /// With what a core is asked.
    pub hop_key: HopKey,
    /// Public halves of all keys of the core's file: to these it opens.
    pub opens: Vec<SealingKey>,
    /// To what the edge seals, by the route table.
    pub seals: SealingKey,
    /// The route table's version.
    pub routes_version: u32,
}

impl Rotation<'_> {
    /// Reads how far it is from the core's file and `wrangler.toml`.
    pub fn standing(&self, core: &str, wrangler: &str) -> Result<Standing, Mistake> {
        let table = routes(wrangler, self.environment)?;
        let seals = self.seals(&table)?.clone();
        let keys = opening_keys(core)?;
        let opens: Vec<_> = keys.iter().map(|(key, _)| key.sealing_key()).collect();
        if !opens.contains(&seals) {
            return Err(Mistake::core(format!(
                "{OPENING}: no key there opens what is sealed to {}, the route's sealing_key: put it back first",
                seals.keyid()
            )));
        }
        let is_made = opens.iter().any(|key| key.keyid() == self.to);
        let stage = match (is_made, opens.len()) {
            (false, _) => Stage::Begin,
            (true, 1) => Stage::CoreHasNew,
            (true, _) if seals.keyid() == self.to => Stage::EdgeHasNew,
            (true, _) => Stage::CoreHasBoth,
        };
        Ok(Standing {
            stage,
            hop_key: hop::only_key(core)?,
            opens,
            seals,
            routes_version: table.version(),
        })
    }

    /// What is to be changed next; nothing at the end. `randomness` becomes the new pair, if that is next.
    pub fn next_edit(
        &self,
        core: &str,
        wrangler: &str,
        randomness: &[u8; RANDOMNESS_BYTES],
    ) -> Result<Option<Edit>, Mistake> {
        let stage = self.standing(core, wrangler)?.stage;
        let (file, text) = match stage {
            Stage::Begin => (File::Core, self.with_both(core, randomness)?),
            Stage::CoreHasBoth => (File::Edge, self.with_new_at_edge(core, wrangler)?),
            Stage::EdgeHasNew => (File::Core, self.with_new_alone(core)?),
            Stage::CoreHasNew => return Ok(None),
        };
        Ok(Some(Edit { file, text }))
    }

    fn with_both(
        &self,
        core: &str,
        randomness: &[u8; RANDOMNESS_BYTES],
    ) -> Result<String, Mistake> {
        let new = OpeningKey::derive(self.to, randomness)
            .map_err(|error| Mistake::core(format!("{OPENING}: {error}")))?;
        let keys = env_file::value(core, OPENING)?.unwrap_or_default();
        let both = format!("{keys} {}", new.expose());
        env_file::with_value(core, OPENING, &both, OPENING)
    }

    fn with_new_at_edge(&self, core: &str, wrangler: &str) -> Result<String, Mistake> {
        let (key, _) = self.new_key(core)?;
        with_sealing_key(wrangler, self.environment, self.region, &key.sealing_key())
    }

    fn with_new_alone(&self, core: &str) -> Result<String, Mistake> {
        let (_, written) = self.new_key(core)?;
        env_file::with_value(core, OPENING, written, OPENING)
    }

    fn new_key<'t>(&self, core: &'t str) -> Result<(OpeningKey, &'t str), Mistake> {
        let mut keys = opening_keys(core)?.into_iter();
        keys.find(|(key, _)| key.keyid() == self.to)
            .ok_or_else(|| Mistake::core(format!("{OPENING}: it has no {}", self.to)))
    }

    fn seals<'t>(&self, table: &'t RouteTable) -> Result<&'t SealingKey, Mistake> {
        key_of(table, self.region).ok_or_else(|| {
            Mistake::edge(format!(
                "regions.{}: spool = \"sealed\" and sealing_key are expected; without them nothing is sealed, and no \
                 key can be changed",
                self.region
            ))
        })
    }
}

/// A name for the next key that none in the core's file has.
pub fn propose(core: &str) -> Result<String, Mistake> {
    let keys = opening_keys(core)?;
    let names = keys.iter().map(|(key, _)| key.keyid());
    let in_use = keys.first().map_or("", |(key, _)| key.keyid());
    Ok(propose_name(in_use, names))
}

/// To what a region's records are sealed; nothing if none may wait.
pub(super) fn key_of<'t>(table: &'t RouteTable, region: &RegionId) -> Option<&'t SealingKey> {
    let route = table.regions().find(|route| route.region == *region)?;
    match &route.spool {
        Spool::Sealed(key) => Some(key),
        Spool::Off => None,
    }
}

/// The keys of the core's file, each as it is written too.
fn opening_keys(core: &str) -> Result<Vec<(OpeningKey, &str)>, Mistake> {
    let written = env_file::value(core, OPENING)?
        .ok_or_else(|| Mistake::core(format!("{OPENING}: it is missing")))?;
    let mut keys: Vec<(OpeningKey, &str)> = Vec::new();
    for written in written.split_ascii_whitespace() {
        let key = OpeningKey::parse(written)
            .map_err(|error| Mistake::core(format!("{OPENING}: {error}")))?;
        if keys.iter().any(|(known, _)| known.keyid() == key.keyid()) {
            return Err(Mistake::core(format!(
                "{OPENING}: two keys have the name {}",
                key.keyid()
            )));
        }
        keys.push((key, written));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: u8) -> OpeningKey {
        OpeningKey::derive(&format!("smp-asia-{digit}"), &[digit; 32]).unwrap()
    }

    fn core(digits: &[u8]) -> String {
        let keys: Vec<_> = digits.iter().map(|digit| key(*digit).expose()).collect();
        format!(
            "# smp-asia\nCORE_HOP_SECRETS='{{\"smp-asia-1\":\"{}\"}}'\n{OPENING}='{}'\nCORE_REGION=smp-asia",
            "0".repeat(32),
            keys.join(" ")
        )
    }

    fn wrangler(digit: u8, version: u32) -> String {
        format!(
            "[vars.ROUTES]\nversion = {version} # raised by every flip\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\n\
             [vars.ROUTES.regions.smp-asia]\norigin = \"https://core.example.com\"\nstate = \"open\"\nspool = \
             \"sealed\"\nsealing_key = \"{}\" # public\n",
            key(digit).sealing_key()
        )
    }

    fn to<'r>(region: &'r RegionId, name: &'r str) -> Rotation<'r> {
        Rotation {
            region,
            to: name,
            environment: "production",
        }
    }

    #[test]
    fn each_stage_is_told_from_the_files_alone() {
        let region = RegionId::parse("smp-asia").unwrap();
        let rotation = to(&region, "smp-asia-2");
        for (opens, seals, stage) in [
            (&[1][..], 1, Stage::Begin),
            (&[0, 1], 1, Stage::Begin),
            (&[1, 2], 1, Stage::CoreHasBoth),
            (&[0, 2, 1], 1, Stage::CoreHasBoth),
            (&[1, 2], 2, Stage::EdgeHasNew),
            (&[2], 2, Stage::CoreHasNew),
        ] {
            let standing = rotation.standing(&core(opens), &wrangler(seals, 7));
            let standing = standing.unwrap();
            assert_eq!(standing.stage, stage, "{opens:?} {seals}");
            assert_eq!(standing.opens.len(), opens.len());
            assert_eq!(standing.seals, key(seals).sealing_key());
            assert_eq!(standing.routes_version, 7);
        }
    }

    /// Whoever runs it is interrupted before each edit and makes another pair each time.
    #[test]
    fn interrupted_anywhere_it_comes_to_the_same_end_and_the_core_opens_whatever_is_sealed() {
        let region = RegionId::parse("smp-asia").unwrap();
        let rotation = to(&region, "smp-asia-2");
        let (mut core_file, mut wrangler_file) = (core(&[0, 1]), wrangler(1, 7));
        for digit in [2, 3, 4] {
            let interrupted = rotation.next_edit(&core_file, &wrangler_file, &[9; 32]);
            assert!(interrupted.unwrap().is_some());
            let edit = rotation.next_edit(&core_file, &wrangler_file, &[digit; 32]);
            let Edit { file, text } = edit.unwrap().unwrap();
            match file {
                File::Core => core_file = text,
                File::Edge => wrangler_file = text,
            }
            let standing = rotation.standing(&core_file, &wrangler_file).unwrap();
            assert!(standing.opens.contains(&standing.seals));
        }
        let end = rotation.next_edit(&core_file, &wrangler_file, &[9; 32]);
        assert_eq!(end.unwrap(), None);
        assert_eq!((core_file, wrangler_file), (core(&[2]), wrangler(2, 8)));
    }

    #[test]
    fn files_that_do_not_agree_are_left_alone_and_no_private_half_is_quoted() {
        let region = RegionId::parse("smp-asia").unwrap();
        let off = wrangler(1, 7).replace("\"sealed\"", "\"off\"");
        let twice = core(&[1]).replace(&key(1).expose(), &format!("{0} {0}", key(1).expose()));
        let no_key = core(&[1]).replace("smp-asia-1:", "smp-asia-1;");
        let two_live = core(&[1]).replace("\"}'", &format!("\",\"b\":\"{}\"}}'", "1".repeat(32)));
        for (core, wrangler, file, expected) in [
            (
                core(&[1]),
                wrangler(3, 7),
                File::Core,
                "no key there opens what is sealed to smp-asia-3",
            ),
            (core(&[1]), off, File::Edge, "regions.smp-asia: spool"),
            (
                core(&[1]),
                "x".to_owned(),
                File::Edge,
                "no environment production",
            ),
            (
                twice,
                wrangler(1, 7),
                File::Core,
                "two keys have the name smp-asia-1",
            ),
            (
                no_key,
                wrangler(1, 7),
                File::Core,
                "CORE_OPENING_KEYS: a sealing key is its name",
            ),
            (
                two_live,
                wrangler(1, 7),
                File::Core,
                "end that rotation first",
            ),
        ] {
            let mistake = to(&region, "smp-asia-2")
                .standing(&core, &wrangler)
                .unwrap_err();
            assert_eq!(mistake.file, file, "{mistake:?}");
            assert!(mistake.text.contains(expected), "{expected}: {mistake:?}");
            let private = key(1).expose();
            let (_, private) = private.split_once(':').unwrap();
            assert!(!mistake.text.contains(private), "{mistake:?}");
        }
        assert_eq!(propose(&core(&[1, 4])).unwrap(), "smp-asia-5");
    }
}
