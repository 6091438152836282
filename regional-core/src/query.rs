//! The parameters of a query, as every API here reads them. Pure, and total: any bytes are either taken or
//! refused by name.

use url::form_urlencoded;

/// A part of a query that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefusedParameter {
    pub(crate) field: &'static str,
    pub(crate) reason: &'static str,
}

/// The parameters of a query, each at most once.
#[derive(Debug)]
pub(crate) struct QueryParameters(Vec<(&'static str, String)>);

impl QueryParameters {
    /// Reads a query of at most `max_bytes`, as `limit` says, in which nothing but `known` may be: what is
    /// misspelt would otherwise not count.
    pub(crate) fn parse(
        query: Option<&str>,
        known: &'static [&'static str],
        (max_bytes, limit): (usize, &'static str),
    ) -> Result<Self, RefusedParameter> {
        let refused = |field, reason| Err(RefusedParameter { field, reason });
        let query = query.unwrap_or_default();
        if query.len() > max_bytes {
            return refused("query", limit);
        }
        let mut parameters: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(name) = known.iter().find(|known| **known == name) else {
                return refused("query", "it has a parameter that this path does not take");
            };
            if parameters.iter().any(|(there, _)| there == name) {
                return refused(name, "given twice");
            }
            parameters.push((name, value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(there, _)| *there == name)
            .map(|(_, value)| value.as_str())
    }
}
