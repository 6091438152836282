//! The secret of the hop to one region: in the core's `CORE_HOP_SECRETS` and `CORE_HOP_RETIRED_SECRETS`, and in the
//! edge's `HOP_SECRETS`.
//!
//! What waits at the edge needs no live old key: the hop that was sealed with it is checked by the retired ones too,
//! and the hop around it is signed when it is sent. So the old key may go once the edge signs with the new one
//! everywhere, however much waits.

use std::fmt;

use protocol::RegionId;
use protocol::hop::HopKey;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::json;

use super::edge_file::{self, Key};
use super::{Edit, File, Mistake, Stage, env_file, propose_name};
use crate::hex;

const LIVE: &str = "CORE_HOP_SECRETS";
const RETIRED: &str = "CORE_HOP_RETIRED_SECRETS";

/// What is wanted: this key alone, for this region.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'r> {
    /// The region.
    pub region: &'r RegionId,
    /// The name of its key in the end.
    pub to: &'r str,
}

/// How far that is, and the keys by which it can be seen what is in force.
#[derive(Debug)]
pub struct Standing {
    /// How far.
    pub stage: Stage,
    /// What the new key takes the place of; none once that is gone.
    pub old: Option<HopKey>,
    /// The new key, once it is made.
    pub new: Option<HopKey>,
    /// The key that was retired last.
    pub retired: Option<HopKey>,
}

impl Rotation<'_> {
    /// Reads how far it is from the core's file and `edge.json`.
    pub fn standing(&self, core: &str, edge: &str) -> Result<Standing, Mistake> {
        let Read { live, retired, .. } = Read::of(core)?;
        self.check_under_way(&live, edge)?;
        let signs = self.signing(&live, edge)?;
        let new = live.find(self.to);
        let old = live.0.iter().find(|(keyid, _)| keyid != self.to);
        let stage = match (new, old) {
            (None, _) => {
                self.check_name(core, &retired)?;
                Stage::Begin
            }
            (Some(_), Some((old, secret))) => {
                // It will be retired by this name.
                if retired.find(old).is_some_and(|known| known != secret) {
                    return Err(Mistake::core(format!(
                        "{RETIRED}: another secret has the name {old}: rename it there"
                    )));
                }
                if signs == self.to {
                    Stage::EdgeHasNew
                } else {
                    Stage::CoreHasBoth
                }
            }
            (Some(_), None) => Stage::CoreHasNew,
        };
        let key = |found: Option<(&str, &str)>| {
            found
                .map(|(keyid, secret)| hop_key(LIVE, keyid, secret))
                .transpose()
        };
        Ok(Standing {
            stage,
            old: key(old.map(|(keyid, secret)| (&**keyid, &**secret)))?,
            new: key(new.map(|secret| (self.to, secret)))?,
            retired: key(retired
                .0
                .last()
                .map(|(keyid, secret)| (&**keyid, &**secret)))?,
        })
    }

    /// What is to be changed next; nothing at the end. `randomness` becomes the new secret, if that is next.
    pub fn next_edit(
        &self,
        core: &str,
        edge: &str,
        randomness: &[u8; 32],
    ) -> Result<Option<Edit>, Mistake> {
        let stage = self.standing(core, edge)?.stage;
        let (file, text) = match stage {
            Stage::Begin => (File::Core, self.with_both(core, randomness)?),
            Stage::CoreHasBoth => (File::Edge, self.with_new_at_edge(core, edge)?),
            Stage::EdgeHasNew => (File::Core, self.without_old(core)?),
            Stage::CoreHasNew => return Ok(None),
        };
        Ok(Some(Edit { file, text }))
    }

    fn with_both(&self, core: &str, randomness: &[u8; 32]) -> Result<String, Mistake> {
        let live = with_pair(Read::of(core)?.live_text, self.to, &hex(randomness));
        env_file::with_value(core, LIVE, &live, LIVE)
    }

    fn with_new_at_edge(&self, core: &str, edge: &str) -> Result<String, Mistake> {
        let live = Read::of(core)?.live;
        let key = Key {
            keyid: self.to.to_owned(),
            secret: live.find(self.to).unwrap_or_default().to_owned(),
        };
        edge_file::with_key(edge, self.region, &key)
    }

    fn without_old(&self, core: &str) -> Result<String, Mistake> {
        let read = Read::of(core)?;
        let (mut kept, mut retired) = ("{}".to_owned(), read.retired_text.to_owned());
        for (keyid, secret) in &read.live.0 {
            if keyid == self.to {
                kept = with_pair(&kept, keyid, secret);
            } else if read.retired.find(keyid).is_none() {
                retired = with_pair(&retired, keyid, secret);
            }
        }
        let core = env_file::with_value(core, RETIRED, &retired, LIVE)?;
        env_file::with_value(&core, LIVE, &kept, LIVE)
    }

    /// One rotation ends before the next begins: a core takes two keys, not three.
    fn check_under_way(&self, live: &Pairs, edge: &str) -> Result<(), Mistake> {
        let [(one, _), (other, _)] = &*live.0 else {
            return Ok(());
        };
        if live.find(self.to).is_some() {
            return Ok(());
        }
        let signs = edge_file::key(edge, self.region)?.keyid;
        let under_way = if signs == *one { other } else { one };
        Err(Mistake::core(format!(
            "{LIVE}: {one} and {other} are both live: a rotation is under way; end it with --to {under_way}"
        )))
    }

    /// The name of the key by which the edge signs. The core's file must have the same.
    fn signing(&self, live: &Pairs, edge: &str) -> Result<String, Mistake> {
        let Key { keyid, secret } = edge_file::key(edge, self.region)?;
        match live.find(&keyid) {
            Some(known) if *known == *secret => Ok(keyid),
            Some(_) => Err(Mistake::edge(format!(
                "HOP_SECRETS: {keyid} of {} is another secret than the core's file has by this name ({LIVE})",
                self.region
            ))),
            None => Err(Mistake::edge(format!(
                "HOP_SECRETS: {} has {keyid}, which is not in the core's file ({LIVE})",
                self.region
            ))),
        }
    }

    /// A name that was used before would make receipts of two secrets one.
    fn check_name(&self, core: &str, retired: &Pairs) -> Result<(), Mistake> {
        if retired.find(self.to).is_none() {
            return Ok(());
        }
        let free = propose(core)?;
        Err(Mistake::core(format!(
            "{RETIRED}: {} was used before; --to {free} is free",
            self.to
        )))
    }
}

/// A name for the next key that none in the core's file has.
pub fn propose(core: &str) -> Result<String, Mistake> {
    let Read { live, retired, .. } = Read::of(core)?;
    let all = live.0.iter().chain(&retired.0);
    let in_use = live.0.first().map_or("", |(keyid, _)| keyid);
    Ok(propose_name(in_use, all.map(|(keyid, _)| &**keyid)))
}

/// The only live key of the core's file: what it asks a core with, whoever changes another of its secrets.
pub(super) fn only_key(core: &str) -> Result<HopKey, Mistake> {
    match &*Read::of(core)?.live.0 {
        [(keyid, secret)] => hop_key(LIVE, keyid, secret),
        _ => Err(Mistake::core(format!(
            "{LIVE}: two keys are live: end that rotation first (smpctl rotate hop)"
        ))),
    }
}

/// The keys of the core's file.
struct Read<'t> {
    live_text: &'t str,
    live: Pairs,
    retired_text: &'t str,
    retired: Pairs,
}

impl<'t> Read<'t> {
    fn of(core: &'t str) -> Result<Self, Mistake> {
        let live_text = env_file::value(core, LIVE)?
            .ok_or_else(|| Mistake::core(format!("{LIVE}: it is missing")))?;
        let retired_text = env_file::value(core, RETIRED)?.unwrap_or("{}");
        let live = Pairs::read(LIVE, live_text)?;
        let retired = Pairs::read(RETIRED, retired_text)?;
        match live.0.len() {
            1 | 2 => Ok(Self {
                live_text,
                live,
                retired_text,
                retired,
            }),
            count => Err(Mistake::core(format!(
                "{LIVE}: a core takes one or two keys, {count} are there"
            ))),
        }
    }
}

/// Names and secrets, in the order in which they are written: the last retired one is the last.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn read(variable: &str, document: &str) -> Result<Self, Mistake> {
        // serde's own text may quote a value, and each value here is a secret.
        let pairs: Self = serde_json::from_str(document).map_err(|error| {
            Mistake::core(format!(
                "{variable}: a JSON object {{\"keyid\": \"secret\"}}, each name once, is expected (column {} of \
                 the value)",
                error.column()
            ))
        })?;
        for (keyid, secret) in &pairs.0 {
            hop_key(variable, keyid, secret)?;
        }
        Ok(pairs)
    }

    fn find(&self, keyid: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let (_, secret) = pairs.find(|(known, _)| known == keyid)?;
        Some(secret)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("names and secrets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs(Vec::new());
                while let Some((keyid, secret)) = map.next_entry::<String, String>()? {
                    if pairs.find(&keyid).is_some() {
                        return Err(serde::de::Error::custom("a name is there twice"));
                    }
                    pairs.0.push((keyid, secret));
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The object with one pair more, at its end; all that was there stays as it is.
fn with_pair(object: &str, keyid: &str, secret: &str) -> String {
    let inside = object.trim_end().trim_end_matches('}').trim_end();
    let comma = if inside.ends_with('{') { "" } else { "," };
    format!("{inside}{comma}{}:{}}}", json!(keyid), json!(secret))
}

fn hop_key(variable: &str, keyid: &str, secret: &str) -> Result<HopKey, Mistake> {
    HopKey::new(keyid, secret.as_bytes())
        .map_err(|error| Mistake::core(format!("{variable}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asia() -> RegionId {
        RegionId::parse("smp-asia").unwrap()
    }

    /// A secret that is told from others by its digit.
    fn secret(digit: u8) -> String {
        hex(&[digit; 32])
    }

    fn pairs(digits: &[u8]) -> String {
        let pairs = digits
            .iter()
            .map(|digit| format!("\"smp-asia-{digit}\":\"{}\"", secret(*digit)));
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
    }

    fn core(live: &[u8], retired: &[u8]) -> String {
        format!(
            "# smp-asia\nCORE_REGION=smp-asia\n{LIVE}={}\nCORE_DATABASE_URL=postgres://x\n{RETIRED}={}\n",
            pairs(live),
            pairs(retired)
        )
    }

    fn edge(digit: u8) -> String {
        let secrets = json!({
            "smp-asia": {"keyid": format!("smp-asia-{digit}"), "secret": secret(digit)},
            "smp-china": {"keyid": "smp-china-1", "secret": secret(9)},
        });
        json!({"HOP_SECRETS": secrets.to_string(), "OPS_TOKENS": "[]"}).to_string()
    }

    fn to<'r>(region: &'r RegionId, name: &'r str) -> Rotation<'r> {
        Rotation { region, to: name }
    }

    #[test]
    fn each_stage_is_told_from_the_files_alone() {
        let region = asia();
        let rotation = to(&region, "smp-asia-2");
        for (live, signs, stage) in [
            (&[1][..], 1, Stage::Begin),
            (&[1, 2], 1, Stage::CoreHasBoth),
            (&[2, 1], 1, Stage::CoreHasBoth),
            (&[1, 2], 2, Stage::EdgeHasNew),
            (&[2], 2, Stage::CoreHasNew),
        ] {
            let standing = rotation.standing(&core(live, &[0]), &edge(signs)).unwrap();
            assert_eq!(standing.stage, stage, "{live:?} {signs}");
            let name = |key: Option<HopKey>| key.map(|key| key.keyid().to_owned());
            assert_eq!(name(standing.retired).as_deref(), Some("smp-asia-0"));
            assert_eq!(
                (name(standing.old).is_some(), name(standing.new).is_some()),
                (stage != Stage::CoreHasNew, stage != Stage::Begin)
            );
        }
    }

    /// Whoever runs it is interrupted before each edit and makes another secret each time; in each form of the file.
    #[test]
    fn interrupted_anywhere_it_comes_to_the_same_end_and_the_edge_never_signs_with_what_the_core_lacks()
     {
        let region = asia();
        let rotation = to(&region, "smp-asia-2");
        for (quote, line_end, retired) in [
            ("", "\n", None),
            ("'", "\n", Some(&[][..])),
            ("", "\r\n", Some(&[0])),
            ("'", "\r\n", Some(&[0, 5])),
        ] {
            let live = |digits: &[u8]| format!("{LIVE}={quote}{}{quote}", pairs(digits));
            let retired_line = |digits: &[u8]| format!("{RETIRED}={quote}{}{quote}", pairs(digits));
            let head = ["# a comment", "CORE_REGION=smp-asia"].map(str::to_owned);
            let mut lines = head.to_vec();
            lines.push(live(&[1]));
            lines.extend(retired.map(retired_line));
            let write = |lines: &[String]| lines.join(line_end) + line_end;
            let (mut core, mut edge) = (write(&lines), edge(1));
            let mut made = None;
            for number in 0..3 {
                let interrupted = rotation.next_edit(&core, &edge, &[200; 32]).unwrap();
                assert!(
                    interrupted.is_some(),
                    "nothing was written, so nothing is over"
                );
                let edit = rotation
                    .next_edit(&core, &edge, &[100 + number; 32])
                    .unwrap();
                let Edit { file, text } = edit.unwrap();
                match file {
                    File::Core => core = text,
                    File::Edge => edge = text,
                }
                let live = Pairs::read(LIVE, env_file::value(&core, LIVE).unwrap().unwrap());
                let signs = edge_file::key(&edge, &region).unwrap();
                assert_eq!(live.unwrap().find(&signs.keyid), Some(&*signs.secret));
                made.get_or_insert(hex(&[100 + number; 32]));
            }
            assert_eq!(rotation.next_edit(&core, &edge, &[0; 32]).unwrap(), None);
            let mut expected = head.to_vec();
            expected.push(format!(
                "{LIVE}={quote}{{\"smp-asia-2\":\"{}\"}}{quote}",
                made.unwrap()
            ));
            expected.push(retired_line(&[retired.unwrap_or_default(), &[1]].concat()));
            assert_eq!(core, write(&expected));
        }
    }

    /// One rotation after the other, in files of many forms: nothing else is changed, and no secret is ever lost.
    #[test]
    fn ten_rotations_in_a_row_keep_every_other_byte_and_every_secret() {
        let region = asia();
        let others = [
            "",
            "# CORE_HOP_SECRETS=x",
            "A='1'",
            "CORE_HOP_SECRETS_OLD={}",
            "  B = 2",
        ];
        for form in 0..32 {
            let quote = if form & 1 == 0 { "" } else { "'" };
            let line_end = if form & 2 == 0 { "\n" } else { "\r\n" };
            // Where the line stands, and whether the file ends with one.
            let mut lines = others.map(str::to_owned).to_vec();
            let live = format!("{LIVE}={quote}{}{quote}", pairs(&[1]));
            lines.insert(form % 5, live);
            let end = if form & 4 == 0 { line_end } else { "" };
            let (mut core, mut edge) = (lines.join(line_end) + end, edge(1));
            let mut made = vec![secret(1)];
            for digit in 2..12 {
                let name = format!("smp-asia-{digit}");
                assert_eq!(propose(&core).unwrap(), name);
                let rotation = to(&region, &name);
                while let Some(edit) = rotation.next_edit(&core, &edge, &[digit; 32]).unwrap() {
                    match edit.file {
                        File::Core => core = edit.text,
                        File::Edge => edge = edit.text,
                    }
                }
                made.push(secret(digit));
            }
            let Read { live, retired, .. } = Read::of(&core).unwrap();
            let kept = retired.0.iter().chain(&live.0).map(|(_, secret)| secret);
            assert_eq!(kept.collect::<Vec<_>>(), made.iter().collect::<Vec<_>>());
            let unchanged = core.split(line_end).filter(|line| {
                let assigned = line.split('=').next();
                assigned != Some(LIVE) && assigned != Some(RETIRED)
            });
            let unchanged: Vec<_> = unchanged.take(others.len()).collect();
            assert_eq!(unchanged, others, "{form}");
        }
    }

    #[test]
    fn what_is_under_way_can_be_taken_back_and_nothing_else_can_begin() {
        let region = asia();
        let back = to(&region, "smp-asia-1");
        let (core_has_both, edge_has_new) = (core(&[1, 2], &[]), edge(2));
        let edit = back.next_edit(&core_has_both, &edge_has_new, &[0; 32]);
        let edit = edit.unwrap().unwrap();
        assert_eq!((edit.file, edit.text), (File::Edge, edge(1)));
        let edit = back.next_edit(&core_has_both, &edge(1), &[0; 32]).unwrap();
        assert_eq!(edit.unwrap().text, core(&[1], &[2]));

        let other = to(&region, "smp-asia-3");
        for (signs, under_way) in [(1, "--to smp-asia-2"), (2, "--to smp-asia-1")] {
            let mistake = other.standing(&core_has_both, &edge(signs)).unwrap_err();
            assert!(mistake.text.contains(under_way), "{mistake:?}");
        }
    }

    #[test]
    fn files_that_do_not_agree_are_left_alone_and_no_secret_is_quoted() {
        let region = asia();
        let other_secret = core(&[1], &[]).replace(&secret(1), &secret(3));
        let twice = core(&[1], &[]).replace('}', &format!(",\"smp-asia-1\":\"{}\"}}", secret(1)));
        for (name, core, edge, file, expected) in [
            (
                "smp-asia-2",
                core(&[1], &[]),
                edge(3),
                File::Edge,
                "which is not in the core's file",
            ),
            (
                "smp-asia-2",
                other_secret,
                edge(1),
                File::Edge,
                "is another secret than",
            ),
            (
                "smp-asia-2",
                core(&[1], &[2]),
                edge(1),
                File::Core,
                "--to smp-asia-3 is free",
            ),
            (
                "smp-asia-2",
                core(&[1, 2, 3], &[]),
                edge(1),
                File::Core,
                "3 are there",
            ),
            ("smp-asia-2", twice, edge(1), File::Core, "each name once"),
            (
                "smp-asia-2",
                "A=1\n".to_owned(),
                edge(1),
                File::Core,
                "CORE_HOP_SECRETS: it is missing",
            ),
            (
                "smp-asia-2",
                core(&[1, 2], &[1]).replacen(&secret(1), &secret(4), 1),
                edge(2),
                File::Core,
                "another secret has the name smp-asia-1",
            ),
            (
                "smp-asia-2",
                format!("{LIVE}={{\"a\":\"{}", secret(1)),
                edge(1),
                File::Core,
                "a JSON object",
            ),
            (
                "smp-asia-2",
                format!("{LIVE}={{\"a\":\"short\"}}"),
                edge(1),
                File::Core,
                "at least 32 bytes",
            ),
        ] {
            let mistake = to(&region, name).standing(&core, &edge).unwrap_err();
            assert_eq!(mistake.file, file, "{mistake:?}");
            assert!(mistake.text.contains(expected), "{expected}: {mistake:?}");
            for digit in [1, 2, 3, 4] {
                assert!(!mistake.text.contains(&secret(digit)), "{mistake:?}");
            }
        }
        assert_eq!(propose(&core(&[1], &[4])).unwrap(), "smp-asia-5");
    }
}
