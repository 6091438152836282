//! `platform.env`: all that a shell needs to know of a platform that is up.

use protocol::RegionId;

/// The file's name.
pub const FILE: &str = "platform.env";

/// What there is to know of a core.
#[derive(Debug)]
pub struct CoreLines<'l> {
    /// The region's id.
    pub id: &'l RegionId,
    /// Its origin.
    pub url: &'l str,
    /// Its database, for `core_owner`.
    pub owner_url: &'l str,
    /// The same for `core_app`.
    pub app_url: &'l str,
    /// The name of the hop's key.
    pub keyid: &'l str,
    /// The hop's secret.
    pub secret: &'l str,
    /// Of somebody who may do everything there.
    pub admin_token: Option<&'l str>,
}

/// A core's lines.
#[must_use]
pub fn core_lines(core: &CoreLines<'_>) -> String {
    let prefix = core.id.env_prefix();
    let mut text = format!(
        "{}, {prefix}_APP_DATABASE_URL its CORE_DATABASE_URL\n\
         {prefix}_CORE_URL={}\n{prefix}_DATABASE_URL={}\n{prefix}_APP_DATABASE_URL={}\n\
         {prefix}_HOP_KEYID={}\n{prefix}_HOP_SECRET={}\n",
        heading(core.id),
        core.url,
        core.owner_url,
        core.app_url,
        core.keyid,
        core.secret
    );
    if let Some(token) = core.admin_token {
        text.extend([&prefix, "_ADMIN_TOKEN=", token, "\n"]);
    }
    text
}

/// The lines of master data in a region. `owner_url` is its database, for `master_data_owner`.
#[must_use]
pub fn master_data_lines(
    id: &RegionId,
    kafka: &str,
    replicator_url: &str,
    owner_url: &str,
) -> String {
    let prefix = id.env_prefix();
    format!(
        "{prefix}_KAFKA={kafka}\n{prefix}_REPLICATOR_URL={replicator_url}\n\
         {prefix}_MASTER_DATA_DATABASE_URL={owner_url}\n"
    )
}

/// The file without a region.
#[must_use]
pub fn without(text: &str, id: &RegionId) -> String {
    text.lines()
        .filter(|line| !is_of(line, id))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The lines of a region but for its token, which differs each time; `None` if it has none.
#[must_use]
pub fn lines_without_token(text: &str, id: &RegionId) -> Option<Vec<String>> {
    let token = format!("{}_ADMIN_TOKEN=", id.env_prefix());
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| is_of(line, id))
        .map(ToOwned::to_owned)
        .collect();
    let count = lines.len();
    lines.retain(|line| !line.starts_with(&token));
    (lines.len() < count).then_some(lines)
}

fn heading(id: &RegionId) -> String {
    let prefix = id.env_prefix();
    format!(
        "# {id}: {prefix}_DATABASE_URL is its core's CORE_OWNER_DATABASE_URL, {prefix}_MASTER_DATA_DATABASE_URL its \
         REPLICATOR_OWNER_DATABASE_URL"
    )
}

/// One region's name may begin as another's, so what follows it must be known.
fn is_of(line: &str, id: &RegionId) -> bool {
    const NAMES: [&str; 9] = [
        "CORE_URL",
        "DATABASE_URL",
        "APP_DATABASE_URL",
        "HOP_KEYID",
        "HOP_SECRET",
        "ADMIN_TOKEN",
        "KAFKA",
        "REPLICATOR_URL",
        "MASTER_DATA_DATABASE_URL",
    ];
    let prefix = format!("{}_", id.env_prefix());
    let name = line
        .split_once('=')
        .and_then(|(name, _)| name.strip_prefix(&prefix));
    line.starts_with(&heading(id)) || name.is_some_and(|name| NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_one_region_are_found_and_those_of_others_stay() {
        let lines = |id: &str, token: &str| {
            let id = RegionId::parse(id).unwrap();
            let core = core_lines(&CoreLines {
                id: &id,
                url: "http://127.0.0.1:1",
                owner_url: "postgres://o@h/d",
                app_url: "postgres://a@h/d",
                keyid: "k",
                secret: "s",
                admin_token: Some(token),
            });
            core + &master_data_lines(&id, "127.0.0.1:2", "http://127.0.0.1:3", "postgres://m@h/d")
        };
        let us = RegionId::parse("smp-us").unwrap();
        let others = format!("EDGE_URL=x\n{}", lines("smp-us-west", "t"));
        let text = format!("{others}{}", lines("smp-us", "one"));
        assert_eq!(without(&text, &us), others);
        assert_eq!(without(&others, &us), others);
        assert_eq!(lines_without_token(&others, &us), None);
        assert_eq!(
            lines_without_token(&text, &us),
            lines_without_token(&lines("smp-us", "two"), &us)
        );
    }
}
