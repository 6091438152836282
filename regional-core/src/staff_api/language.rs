//! In which language a notification speaks, and what it says. Pure.

use serde_json::Value;

/// The languages that every template has, the one to fall back to first.
pub(super) const LANGUAGES: [&str; 4] = ["en", "vi", "zh", "th"];
/// What stands for something that is not there, or not to be seen.
const NOTHING: &str = "—";
/// No browser sends more.
const RANGES_MAX: usize = 32;

/// The language that `Accept-Language` (RFC 9110 section 12.5.4) likes best among ours.
pub(super) fn choose(accept_language: Option<&str>) -> &'static str {
    let mut best: Option<(&'static str, u16)> = None;
    for range in accept_language
        .unwrap_or_default()
        .split(',')
        .take(RANGES_MAX)
    {
        let mut parts = range.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let weight = parts.next().map_or(Some(1000), weight).unwrap_or(0);
        let primary = tag.split('-').next().unwrap_or_default();
        let language = if primary == "*" {
            LANGUAGES.first().copied()
        } else {
            LANGUAGES
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(primary))
        };
        if let Some(language) = language
            && weight > best.map_or(0, |(_, weight)| weight)
        {
            best = Some((language, weight));
        }
    }
    best.map_or("en", |(language, _)| language)
}

/// `q=0.8` as thousandths.
fn weight(parameter: &str) -> Option<u16> {
    let digits = parameter.trim().strip_prefix("q=")?;
    let weight: f32 = digits
        .parse()
        .ok()
        .filter(|weight| (0.0..=1.0).contains(weight))?;
    // Within 0..=1000 by the line before.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is 0 to 1000"
    )]
    Some((weight * 1000.0) as u16)
}

/// The text of a template in a language, else in English. Each `{name}` becomes what `value` knows of it.
pub(super) fn render<'v>(
    texts: &Value,
    language: &str,
    value: impl Fn(&str) -> Option<&'v str>,
) -> String {
    let text = |language: &str| texts.get(language).and_then(Value::as_str);
    let mut rest = text(language).or_else(|| text("en")).unwrap_or_default();
    let mut rendered = String::new();
    while let Some((before, after)) = rest.split_once('{') {
        rendered.push_str(before);
        match after.split_once('}') {
            Some((name, behind)) if is_name(name) => {
                rendered.push_str(value(name).unwrap_or(NOTHING));
                rest = behind;
            }
            _ => {
                rendered.push('{');
                rest = after;
            }
        }
    }
    rendered.push_str(rest);
    rendered
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_language_is_the_one_that_is_liked_best() {
        for (header, language) in [
            (None, "en"),
            (Some("vi-VN,vi;q=0.9,en;q=0.8"), "vi"),
            (Some("fr, zh-Hans;q=0.5, th;q=0.7"), "th"),
            (Some("fr"), "en"),
            (Some("*"), "en"),
            (Some("vi;q=0, zh;q=0.1"), "zh"),
            (Some("vi;q=x, TH;q=0.2"), "th"),
            (Some(""), "en"),
        ] {
            assert_eq!(choose(header), language, "{header:?}");
        }
    }

    #[test]
    fn placeholders_are_filled_once_and_nothing_else_is_touched() {
        let texts = json!({"en": "{customer_name} {x-y} {gone} {", "vi": "Chào {customer_name}"});
        // What a customer writes is not read as a template.
        let value = |name: &str| (name == "customer_name").then_some("{gone}");
        assert_eq!(render(&texts, "vi", value), "Chào {gone}");
        assert_eq!(render(&texts, "th", value), "{gone} {x-y} — {");
        assert_eq!(render(&json!({}), "th", value), "");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(header in any::<String>(), text in any::<String>()) {
            let _language = choose(Some(&header));
            let _text = render(&json!({"en": text}), "en", |_| None);
        }
    }
}
