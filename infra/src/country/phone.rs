//! Whether a country's phone numbers are known: a core reads them by libphonenumber, and this is the same data.

use protocol::Country;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType, Region};

use super::Item;

/// The country's numbers, and that master data has the same calling code; none if that is not known.
#[must_use]
pub fn item(country: Country, calling_code: Option<&str>) -> Item {
    const WHAT: &str = "phone numbers";
    let region = Region::from_code(country.as_str()).ok();
    let code = region.and_then(|region| PHONE_NUMBER_UTIL.get_country_code_for_region(region));
    let (Some(region), Some(code)) = (region, code) else {
        return Item::missing(
            WHAT,
            format!(
                "libphonenumber has no plan of {country}: only numbers that begin with + would be read"
            ),
            "docs/processing.md, \"What comes of a record\"",
        );
    };
    if let Some(other) = calling_code.filter(|other| **other != code.to_string()) {
        return Item::missing(
            WHAT,
            format!("its calling code is +{code}, and master data has +{other}"),
            format!(
                "calling_code of /v1/master-data/countries/{country}: docs/master-data.md, \"Change it through the API\""
            ),
        );
    }
    let example = PHONE_NUMBER_UTIL
        .get_example_number_for_type_and_region(region, PhoneNumberType::Mobile)
        .ok()
        .map(|number| {
            PHONE_NUMBER_UTIL
                .format(&number, PhoneNumberFormat::E164)
                .into_owned()
        });
    let example = example.map_or_else(String::new, |number| format!(", as {number}"));
    Item::ok(
        WHAT,
        format!("libphonenumber knows its plan: +{code}{example}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn judge(country: &str, calling_code: Option<&str>) -> Item {
        item(Country::parse(country).unwrap(), calling_code)
    }

    #[test]
    fn a_country_with_a_plan_is_well_if_master_data_has_its_calling_code() {
        let laos = judge("LA", Some("856"));
        assert_eq!(laos.verdict, Verdict::Ok);
        assert!(laos.found.contains("+856, as +856"), "{}", laos.found);
        assert_eq!(judge("LA", None).verdict, Verdict::Ok);
        let wrong = judge("LA", Some("855"));
        assert_eq!(wrong.verdict, Verdict::Missing);
        assert!(wrong.found.contains("+856"), "{}", wrong.found);
    }

    #[test]
    fn a_country_without_a_plan_is_told() {
        assert_eq!(judge("AQ", None).verdict, Verdict::Missing);
    }
}
