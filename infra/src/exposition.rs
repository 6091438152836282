//! A page of metrics as Prometheus reads it: its text format, and `OpenMetrics`, as far as they are the same.

use std::collections::BTreeMap;

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of which metric.
    pub name: String,
    /// By which labels.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty if it is not there, as Prometheus has it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page(Vec<Sample>);

impl Page {
    /// Reads what is a sample; whatever else stands there is left out.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// All samples of a metric.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The value of a metric that has one sample; of several the first.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        Some(self.of(name).next()?.value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim_start();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // What follows the value is a time, or an exemplar.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// What stands between the braces, and what is behind them.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.insert(name.trim().to_owned(), value);
        rest = behind;
    }
}

/// A text up to its closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_samples() {
        let page = Page::read(
            "# HELP up Whether it is.\n# TYPE up gauge\nup 1\n\
             lag_seconds{region=\"smp-china\"} 1.5 1780000000\n\
             age{country=\"VN\",connection=\"vn-main\",} +Inf\n# EOF\n",
        );
        assert_eq!(page.value("up"), Some(1.0));
        assert_eq!(page.value("lag_seconds"), Some(1.5));
        let age = page.of("age").next().unwrap();
        assert_eq!((age.label("country"), age.label("table")), ("VN", ""));
        assert!(age.value.is_infinite());
        assert_eq!(page.value("down"), None);
    }

    #[test]
    fn a_labels_value_may_hold_what_else_would_end_it() {
        let page = Page::read(r#"a{b="x\"y\\z,}=\n",c="ü"} 7"#);
        let sample = page.of("a").next().unwrap();
        assert_eq!(sample.label("b"), "x\"y\\z,}=\n");
        assert_eq!((sample.label("c"), sample.value), ("ü", 7.0));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let page = Page::read("<html>\nx\ny{z=\"1\" 3\nw{v=\"unclosed} 3\nu seven\n\nt 3\n");
        assert_eq!(page.0.len(), 1);
        assert_eq!(page.value("t"), Some(3.0));
    }
}
