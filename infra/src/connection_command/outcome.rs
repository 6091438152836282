//! What became of a change of connections.

use infra::connections::{Changed, IN_FORCE_SECS};
use serde_json::json;

/// For people, and for programs.
pub(super) struct Outcome {
    said: String,
    is_done: bool,
    /// What the edge made of it, if it had to do something.
    changed: Option<Changed>,
}

impl Outcome {
    /// Nothing was changed.
    pub(super) fn shown(said: String) -> Self {
        Self {
            said,
            is_done: false,
            changed: None,
        }
    }

    /// It is so now, and the edge had nothing to do.
    pub(super) fn done(said: String) -> Self {
        Self {
            said,
            is_done: true,
            changed: None,
        }
    }

    /// The edge has changed it; says since when that holds.
    pub(super) fn changed(said: &str, changed: Changed) -> Self {
        Self {
            said: format!("{said}{}", in_force(&changed)),
            is_done: true,
            changed: Some(changed),
        }
    }

    /// With something told before it.
    pub(super) fn after(self, said: &str) -> Self {
        Self {
            said: format!("{said}{}", self.said),
            ..self
        }
    }

    pub(super) fn said(&self) -> &str {
        &self.said
    }

    /// What to print.
    pub(super) fn text(self, as_json: bool) -> String {
        if as_json {
            let Self {
                said,
                is_done,
                changed,
            } = self;
            format!(
                "{:#}\n",
                json!({"is_done": is_done, "changed": changed, "said": said.trim_end()})
            )
        } else {
            self.said
        }
    }
}

/// Since when a change holds, or why it may not yet.
pub(super) fn in_force(changed: &Changed) -> String {
    let version = changed.version;
    if changed.is_published {
        format!("connections, version {version}: in force everywhere within {IN_FORCE_SECS} s\n")
    } else {
        format!(
            "connections, version {version}: kept, and not yet where isolates read it; the edge tries again by itself \
             (smpctl connection list)\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_what_people_are_and_what_the_edge_made_of_it() {
        let changed = Changed {
            version: 7,
            is_published: true,
        };
        let outcome = Outcome::changed("vn-main: added\n", changed).after("in its core\n");
        let said =
            "in its core\nvn-main: added\nconnections, version 7: in force everywhere within 120 s";
        assert_eq!(outcome.said(), format!("{said}\n"));
        let told: serde_json::Value = serde_json::from_str(&outcome.text(true)).unwrap();
        let changed = json!({"version": 7, "is_published": true});
        assert_eq!(
            told,
            json!({"is_done": true, "changed": changed, "said": said})
        );
        let shown = Outcome::shown("--yes changes it\n".to_owned()).text(true);
        assert!(shown.contains("\"is_done\": false") && shown.contains("\"changed\": null"));
        assert_eq!(Outcome::done("done\n".to_owned()).text(false), "done\n");
    }
}
