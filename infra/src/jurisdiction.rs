//! Which data-protection law a country has, what must be granted there before a region may serve, and whether records
//! may wait abroad: what `smpctl region add` proposes. Counsel decides; what they sign off is in the region's file.

use std::collections::BTreeSet;

use protocol::Country;

/// What a country asks of a region that holds its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jurisdiction {
    /// The law, by the name that its region's file has.
    pub law: &'static str,
    /// What must be granted before the region's origin may answer.
    pub licence: Option<&'static str>,
    /// Whether even ciphertext must not wait outside of the country unless counsel says otherwise.
    pub stays: bool,
    /// From the decision until the region may serve, in weeks.
    pub lead_time_weeks: u8,
}

/// From the decision until a region may serve that needs no licence: a cluster, its names and certificates, and the
/// compliance review.
const USUAL_WEEKS: u8 = 4;

/// The European Economic Area, where the GDPR holds.
const EEA: [&str; 30] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// What is known of a country; nothing if somebody has to say it.
#[must_use]
pub fn of(country: Country) -> Option<Jurisdiction> {
    let usual = |law| {
        Some(Jurisdiction {
            law,
            licence: None,
            stays: false,
            lead_time_weeks: USUAL_WEEKS,
        })
    };
    match country.as_str() {
        // PIPL's articles 38 to 40; the State Council's decree 292, article 4, for the filing, which is begun three
        // months early.
        "CN" => Some(Jurisdiction {
            law: "PIPL",
            licence: Some("ICP filing"),
            stays: true,
            lead_time_weeks: 12,
        }),
        "US" => usual("CPRA (California)"),
        "VN" => usual("Decree 13/2023 (Viet Nam)"),
        "SG" => usual("PDPA (Singapore)"),
        "TH" => usual("PDPA (Thailand)"),
        "MY" => usual("PDPA (Malaysia)"),
        "TW" => usual("PDPA (Taiwan)"),
        "ID" => usual("Law 27/2022 (Indonesia)"),
        "PH" => usual("Data Privacy Act (Philippines)"),
        "JP" => usual("APPI (Japan)"),
        "KR" => usual("PIPA (South Korea)"),
        "IN" => usual("DPDP Act (India)"),
        "AU" => usual("Privacy Act (Australia)"),
        "CA" => usual("PIPEDA (Canada)"),
        "BR" => usual("LGPD (Brazil)"),
        "GB" => usual("UK GDPR"),
        code if EEA.contains(&code) => usual("GDPR"),
        _ => None,
    }
}

/// What several countries ask of the region that holds them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Each law once.
    pub laws: Vec<String>,
    /// Each licence once.
    pub licences: Vec<String>,
    /// Whether records may wait at the edge, sealed.
    pub may_wait: bool,
    /// The longest of the lead times.
    pub lead_time_weeks: u8,
}

/// Puts together what is known; the error names the countries of which nothing is.
pub fn propose(countries: &[Country]) -> Result<Proposal, Vec<Country>> {
    let known: Vec<_> = countries.iter().map(|country| of(*country)).collect();
    let unknown: Vec<_> = countries
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none())
        .map(|(country, _)| *country)
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let known: Vec<_> = known.into_iter().flatten().collect();
    let once = |names: Vec<&str>| {
        let mut seen = BTreeSet::new();
        let mut names = names;
        names.retain(|name| seen.insert(*name));
        names.into_iter().map(ToOwned::to_owned).collect()
    };
    Ok(Proposal {
        laws: once(known.iter().map(|known| known.law).collect()),
        licences: once(known.iter().filter_map(|known| known.licence).collect()),
        may_wait: known.iter().all(|known| !known.stays),
        lead_time_weeks: known
            .iter()
            .map(|known| known.lead_time_weeks)
            .max()
            .unwrap_or(USUAL_WEEKS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn countries(codes: &str) -> Vec<Country> {
        codes
            .split(' ')
            .map(|code| Country::parse(code).unwrap())
            .collect()
    }

    #[test]
    fn each_law_stands_once_and_the_strictest_country_decides_for_all() {
        let europe = propose(&countries("DE FR GB")).unwrap();
        assert_eq!(europe.laws, ["GDPR", "UK GDPR"]);
        assert!(europe.licences.is_empty() && europe.may_wait);
        assert_eq!(europe.lead_time_weeks, 4);
        let with_china = propose(&countries("SG CN")).unwrap();
        assert_eq!(with_china.laws, ["PDPA (Singapore)", "PIPL"]);
        assert_eq!(with_china.licences, ["ICP filing"]);
        assert!(!with_china.may_wait);
        assert_eq!(with_china.lead_time_weeks, 12);
    }

    #[test]
    fn of_a_country_that_nobody_knows_somebody_has_to_say_it() {
        assert_eq!(propose(&countries("SG LA AQ")), Err(countries("LA AQ")));
    }
}
