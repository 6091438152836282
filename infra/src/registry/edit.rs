//! A region's file as text: a country comes into its list, or leaves it. Comments and order stay. Pure.

use protocol::Country;
use toml_edit::{Array, DocumentMut, Item, Value};

/// The text with a country listed, as the last; the same text if it is listed already.
pub fn add_country(text: &str, country: Country) -> Result<String, String> {
    change(text, |countries| {
        if position(countries, country).is_some() {
            return;
        }
        let mut value = Value::from(country.as_str());
        let between = take_end(countries);
        match between.rsplit_once('\n') {
            // On lines of their own: it gets one too, behind the comment of the line before.
            Some((before, indent)) => {
                let first = countries.get(0).map_or("", prefix_of);
                let own = first.rsplit_once('\n').map_or("    ", |(_, own)| own);
                value.decor_mut().set_prefix(format!("{before}\n{own}"));
                set_end(countries, &format!("\n{indent}"));
            }
            None if countries.is_empty() => {}
            None => {
                value.decor_mut().set_prefix(" ");
                set_end(countries, &between);
            }
        }
        let end = end_of(countries);
        countries.push_formatted(value);
        set_end(countries, &end);
    })
}

/// The text without a country, and without the comment on its line; the same text if it is not listed.
pub fn remove_country(text: &str, country: Country) -> Result<String, String> {
    change(text, |countries| {
        let Some(at) = position(countries, country) else {
            return;
        };
        // The comment on a country's line stands before the next one, or at the list's end.
        let mut end = end_of(countries);
        let before = countries.get(at).map_or("", prefix_of).to_owned();
        let _end = take_end(countries);
        countries.remove(at);
        let (kept, _) = before.split_once('\n').unwrap_or(("", ""));
        let without = |text: &str| match text.split_once('\n') {
            Some((_, rest)) => format!("{kept}\n{rest}"),
            None if before.contains('\n') => before.clone(),
            None => text.to_owned(),
        };
        match countries.get_mut(at) {
            Some(next) if at == 0 && !before.contains('\n') => next.decor_mut().set_prefix(before),
            Some(next) => {
                let prefix = without(prefix_of(next));
                next.decor_mut().set_prefix(prefix);
            }
            None if end.contains('\n') => end = without(&end),
            None => {}
        }
        if countries.is_empty() && !end.contains('\n') {
            end.clear();
        }
        set_end(countries, &end);
    })
}

fn change(text: &str, edit: impl FnOnce(&mut Array)) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let countries = document.get_mut("countries").and_then(Item::as_array_mut);
    let countries = countries.ok_or("countries: a list of countries is expected")?;
    edit(countries);
    Ok(document.to_string())
}

fn position(countries: &Array, country: Country) -> Option<usize> {
    let mut codes = countries.iter();
    codes.position(|code| code.as_str() == Some(country.as_str()))
}

fn prefix_of(value: &Value) -> &str {
    let prefix = value.decor().prefix();
    prefix
        .and_then(|prefix| prefix.as_str())
        .unwrap_or_default()
}

/// What stands between the last country, with its comma if it has one, and the bracket.
fn end_of(countries: &Array) -> String {
    let trailing = countries.trailing().as_str().unwrap_or_default();
    if countries.trailing_comma() {
        return trailing.to_owned();
    }
    let last = countries.iter().last();
    let suffix = last.and_then(|last| last.decor().suffix()?.as_str());
    format!("{}{trailing}", suffix.unwrap_or_default())
}

/// The same, and it stands there no more.
fn take_end(countries: &mut Array) -> String {
    let end = end_of(countries);
    set_end(countries, "");
    end
}

fn set_end(countries: &mut Array, end: &str) {
    // A comment behind the last country must not swallow a comma that comes later.
    let last = countries.len().checked_sub(1);
    if let Some(last) = last.and_then(|last| countries.get_mut(last)) {
        last.decor_mut().set_suffix("");
    }
    countries.set_trailing(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    #[track_caller]
    fn added(list: &str) -> String {
        let text = format!("# A region.\nid = \"r\"\ncountries = {list} # all\n\n[kafka]\n");
        let with = add_country(&text, country("LA")).unwrap();
        assert_eq!(add_country(&with, country("LA")).unwrap(), with);
        assert_eq!(remove_country(&with, country("LA")).unwrap(), text);
        assert_eq!(remove_country(&text, country("LA")).unwrap(), text);
        let (_, with) = with.split_once("countries = ").unwrap();
        with.split_once(" # all\n\n[kafka]\n").unwrap().0.to_owned()
    }

    #[test]
    fn a_country_comes_last_and_all_else_stays_and_it_leaves_as_it_came() {
        for (list, with) in [
            (r#"["VN", "SG"]"#, r#"["VN", "SG", "LA"]"#),
            (r#"["VN"]"#, r#"["VN", "LA"]"#),
            ("[]", r#"["LA"]"#),
            (r#"[ "VN", "SG" ]"#, r#"[ "VN", "SG", "LA" ]"#),
            (
                "[\n  \"VN\",\n  \"SG\",\n]",
                "[\n  \"VN\",\n  \"SG\",\n  \"LA\",\n]",
            ),
            (
                "[\n  \"VN\", # Viet Nam\n  # A city.\n  \"SG\", # Singapore\n]",
                "[\n  \"VN\", # Viet Nam\n  # A city.\n  \"SG\", # Singapore\n  \"LA\",\n]",
            ),
        ] {
            assert_eq!(added(list), with);
        }
    }

    #[test]
    fn without_a_comma_at_the_end_the_comment_there_stays_with_its_line() {
        let text = "countries = [\n  \"VN\",\n  \"SG\" # Singapore\n]\n";
        let with = add_country(text, country("LA")).unwrap();
        assert_eq!(
            with,
            "countries = [\n  \"VN\",\n  \"SG\", # Singapore\n  \"LA\"\n]\n"
        );
    }

    #[test]
    fn a_country_leaves_from_any_place_with_its_comment() {
        let text =
            "countries = [\n  \"VN\", # Viet Nam\n  \"SG\", # Singapore\n  \"TH\", # Thailand\n]\n";
        let without = |code: &str| remove_country(text, country(code)).unwrap();
        assert_eq!(
            without("VN"),
            "countries = [\n  \"SG\", # Singapore\n  \"TH\", # Thailand\n]\n"
        );
        assert_eq!(
            without("SG"),
            "countries = [\n  \"VN\", # Viet Nam\n  \"TH\", # Thailand\n]\n"
        );
        assert_eq!(
            without("TH"),
            "countries = [\n  \"VN\", # Viet Nam\n  \"SG\", # Singapore\n]\n"
        );
        let line = "countries = [\"VN\", \"SG\", \"TH\"]\n";
        for (code, left) in [
            ("VN", "[\"SG\", \"TH\"]"),
            ("SG", "[\"VN\", \"TH\"]"),
            ("TH", "[\"VN\", \"SG\"]"),
        ] {
            let text = remove_country(line, country(code)).unwrap();
            assert_eq!(text, format!("countries = {left}\n"));
        }
    }

    #[test]
    fn a_file_without_a_list_is_refused() {
        for text in ["id = \"r\"\n", "countries = \"VN\"\n", "countries = [\n"] {
            assert!(add_country(text, country("LA")).is_err(), "{text}");
        }
    }
}
