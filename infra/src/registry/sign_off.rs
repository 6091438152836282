//! Counsel's leave for a region to serve, as its file records it.
//!
//! What is signed off are the region's terms: where it is, who runs it, whose law applies, which countries it holds,
//! and whether records may wait abroad. A change of any of them asks for another sign-off.

use jiff::civil::Date;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::{Region, Spool};
use crate::hex;

/// Who signed off what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOff {
    /// Who.
    pub by: String,
    /// When.
    pub at: Date,
    /// Where the review is kept.
    pub reference: String,
    /// The licences that were seen to be granted.
    #[serde(default)]
    pub granted: Vec<String>,
    /// What was signed off: [`terms`] at that time.
    pub terms: String,
}

/// The terms of a region, in a form that changes when they do: 16 hex digits.
#[must_use]
pub fn terms(region: &Region) -> String {
    let mut countries: Vec<_> = region.countries.iter().map(ToString::to_string).collect();
    countries.sort();
    let terms = json!([
        region.id.as_str(),
        countries,
        region.location.provider,
        region.location.place,
        region.jurisdiction.laws,
        region.jurisdiction.licences,
        region.operation.model.as_str(),
        region.spool == Spool::Sealed,
    ]);
    let digest = digest(&SHA256, terms.to_string().as_bytes());
    hex(digest.as_ref()).chars().take(16).collect()
}

/// What the regions that come with this repository have for a reference: good enough for a platform on this machine.
pub const EXAMPLE: &str = "example";

/// Whether a region may be opened, by its sign-off; says by whom, or what is missing. `is_local` is whether it runs on
/// this machine, with nobody's data.
pub fn judge(region: &Region, is_local: bool) -> Result<String, String> {
    let id = &region.id;
    let signed = region.sign_off.as_ref();
    let Some(sign_off) = signed.filter(|signed| is_local || signed.reference != EXAMPLE) else {
        return Err(format!(
            "nobody has signed {id} off (smpctl region sign-off)"
        ));
    };
    if sign_off.terms != terms(region) {
        return Err(format!(
            "{id} is not what {} signed off on {} ({}): its countries, place, operator, laws, licences or spool have \
             changed since; smpctl region sign-off records that they agree",
            sign_off.by, sign_off.at, sign_off.reference
        ));
    }
    let mut licences = region.jurisdiction.licences.iter();
    if let Some(licence) = licences.find(|licence| !sign_off.granted.contains(licence)) {
        return Err(format!("{id}: {licence} was not seen to be granted"));
    }
    Ok(format!(
        "{} on {} ({})",
        sign_off.by, sign_off.at, sign_off.reference
    ))
}

/// The text of a region's file with a sign-off; all else stays.
pub fn record(text: &str, sign_off: &SignOff) -> Result<String, String> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    let mut table = Table::new();
    table.insert("by", sign_off.by.as_str().into());
    table.insert("at", sign_off.at.to_string().into());
    table.insert("reference", sign_off.reference.as_str().into());
    if !sign_off.granted.is_empty() {
        let granted: Array = sign_off.granted.iter().map(String::as_str).collect();
        table.insert("granted", Item::Value(Value::Array(granted)));
    }
    table.insert("terms", sign_off.terms.as_str().into());
    if let Some(Item::Table(old)) = document.get("sign_off") {
        table.decor_mut().clone_from(old.decor());
        table.set_position(old.position());
    } else {
        table.decor_mut().set_prefix(
            "\n# Counsel's leave to serve; smpctl region sign-off writes it. `terms` stands for what was signed off: \
             countries,\n# place, operator, laws, licences, spool. When one of them changes, it has to be given again.\n",
        );
    }
    document.insert("sign_off", Item::Table(table));
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::parse;

    const CHINA: &str = include_str!("../../regions/smp-china.toml");

    fn unsigned() -> String {
        let mut document: DocumentMut = CHINA.parse().unwrap();
        document.remove("sign_off");
        document.to_string()
    }

    fn sign_off(region: &Region, granted: &[&str]) -> SignOff {
        SignOff {
            by: "Jane \"J\" Roe".to_owned(),
            at: "2026-11-23".parse().unwrap(),
            reference: "LEGAL-7".to_owned(),
            granted: granted.iter().map(|name| (*name).to_owned()).collect(),
            terms: terms(region),
        }
    }

    #[test]
    fn a_region_opens_with_a_sign_off_of_what_it_is_now() {
        let text = unsigned();
        let region = parse(&text).unwrap();
        assert!(
            judge(&region, false)
                .unwrap_err()
                .contains("nobody has signed")
        );
        let without_licence = record(&text, &sign_off(&region, &[])).unwrap();
        let mistake = judge(&parse(&without_licence).unwrap(), false).unwrap_err();
        assert!(mistake.contains("ICP filing was not seen"), "{mistake}");
        let signed = record(&text, &sign_off(&region, &["ICP filing"])).unwrap();
        assert!(
            signed.starts_with(text.trim_end()),
            "all else stays: {signed}"
        );
        let region = parse(&signed).unwrap();
        assert_eq!(
            judge(&region, false).unwrap(),
            "Jane \"J\" Roe on 2026-11-23 (LEGAL-7)"
        );
        let again = record(&signed, &sign_off(&region, &["ICP filing"])).unwrap();
        assert_eq!(again, signed, "the same again changes nothing");
    }

    #[test]
    fn the_repositorys_own_sign_offs_count_on_this_machine_only() {
        for text in [CHINA, include_str!("../../regions/smp-asia.toml")] {
            let region = parse(text).unwrap();
            assert_eq!(judge(&region, true).map(|_| ()), Ok(()));
            let mistake = judge(&region, false).unwrap_err();
            assert!(mistake.contains("nobody has signed"), "{mistake}");
        }
    }

    #[test]
    fn whatever_counsel_looked_at_asks_for_another_sign_off_when_it_changes() {
        let region = parse(&unsigned()).unwrap();
        let signed = record(&unsigned(), &sign_off(&region, &["ICP filing"])).unwrap();
        for (from, to) in [
            ("countries = [\"CN\"]", "countries = [\"CN\", \"HK\"]"),
            ("spool = \"off\"", "spool = \"sealed\""),
            ("cn-shanghai", "cn-hangzhou"),
            ("model = \"partner\"", "model = \"own\""),
            ("laws = [\"PIPL\"]", "laws = []"),
        ] {
            let changed = signed.replacen(from, to, 1);
            assert_ne!(changed, signed, "{from}");
            let mistake = judge(&parse(&changed).unwrap(), false).unwrap_err();
            assert!(mistake.contains("have changed since"), "{from}: {mistake}");
        }
        let other = signed.replacen("core_replicas = 2", "core_replicas = 3", 1);
        assert!(
            judge(&parse(&other).unwrap(), false).is_ok(),
            "no matter of counsel's"
        );
    }
}
