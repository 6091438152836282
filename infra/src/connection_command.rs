//! `smpctl connection`: the edge's connections, and their rows in the cores.

mod change;
mod outcome;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::connections::list_table;
use infra::edge;
use protocol::Country;
use protocol::connection::ConnectionId;
use protocol::connection::document::{Change, Entry, OLD_TOKEN_GOOD_SECS};
use protocol::routes::Origin;
use protocol::signature::Mode;
use serde_json::json;

use crate::edge_command::{Access, from_environment, read_secret};
use crate::print_or_fail;
use change::{add, find, import, now_secs, read_country, revoke, rotate, set_mode, staff_of};
use outcome::Outcome;

/// Which edge, by which right, and by which right at the countries' cores.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Rights {
    #[command(flatten)]
    access: Access,
    /// The file that holds the bearer token of somebody of the country's staff who may change connections; else
    /// the environment's SMP_STAFF_TOKEN. Only add, import, revoke and api-key need it.
    #[arg(long, global = true, value_name = "FILE")]
    staff_token_file: Option<PathBuf>,
    /// The core's own origin, in place of the way through the edge, which lets nobody through to a country whose route
    /// is paused.
    #[arg(long, global = true, value_name = "URL", value_parser = core_origin, conflicts_with = "edge_only")]
    core: Option<Origin>,
    /// Leave the core's row alone: the core makes one itself with the first record.
    #[arg(long, global = true)]
    edge_only: bool,
    /// Print JSON in place of text.
    #[arg(long, global = true)]
    json: bool,
}

fn core_origin(text: &str) -> Result<Origin, String> {
    Origin::parse(text).map_err(|error| error.to_string())
}

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// All connections: country, mode, how many secrets are good, which token. No secret is shown.
    #[command(after_help = "Example:\n  smpctl connection list --json | jq '.connections[].id'")]
    List,
    /// Add a connection, first to its country's core and then to the edge.
    ///
    /// Its webhook token, and its secret if one is asked for, are made here and written to files, for their owner
    /// only: the address for Pancake is EDGE/api/pancake/record/ with the token behind it.
    #[command(after_help = "Examples:\n  \
        smpctl connection add vn-main --country VN --token vn-main.token --secret vn-main.secret\n  \
        smpctl connection add la-main --country LA --token la-main.token --core https://core.smp-asia.example.com")]
    Add {
        /// What to call it: lower-case letters, digits and hyphens.
        #[arg(value_parser = connection_id)]
        id: String,
        /// Whose leads it brings. It never changes.
        #[arg(long)]
        country: Country,
        /// The number of its workspace in Pancake, by which the core asks for what webhooks did not bring.
        #[arg(long)]
        workspace: Option<String>,
        /// Where to write the token; one that is there already is taken.
        #[arg(long, value_name = "FILE")]
        token: PathBuf,
        /// Where to write a secret; one that is there already is taken. Modes observe and enforce need one.
        #[arg(long, value_name = "FILE")]
        secret: Option<PathBuf>,
        /// off, observe or enforce.
        #[arg(long, default_value = "off")]
        mode: Mode,
        /// From where its webhooks come, as an address or a range (CIDR), again and again; from anywhere if not given.
        #[arg(long, value_name = "RANGE")]
        allow: Vec<String>,
    },
    /// Add all connections of a file, whose tokens and secrets Pancake has already. Without --yes it is only read.
    ///
    /// The file is a JSON array of {"id", "token_sha256", "country", "mode", "secrets", "allow"}; `printf %s TOKEN |
    /// sha256sum` makes the token's hash. All of them are added or none.
    #[command(after_help = "Examples:\n  \
        smpctl connection import connections.json          # reads it only\n  \
        smpctl connection import connections.json --yes")]
    Import {
        /// The file.
        file: PathBuf,
        /// Add them.
        #[arg(long)]
        yes: bool,
    },
    /// Give a connection another token or another secret; the one before stays good for a while.
    ///
    /// A token: 24 hours, or as long as --old-good-secs says; change the address at Pancake meanwhile. A secret: until
    /// --retire-secret --yes; see before that Pancake signs with the new one.
    #[command(after_help = "Examples:\n  \
        smpctl connection rotate vn-main --token vn-main.token.2\n  \
        smpctl connection rotate vn-main --secret vn-main.secret.2\n  \
        smpctl connection rotate vn-main --retire-secret --yes")]
    Rotate {
        /// Which.
        #[arg(value_parser = connection_id)]
        id: String,
        #[command(flatten)]
        what: Rotation,
        /// How long the old token stays good, in seconds: 0 if it is no secret any more.
        #[arg(long, value_name = "SECONDS", default_value_t = OLD_TOKEN_GOOD_SECS, requires = "token")]
        old_good_secs: u64,
        /// With --retire-secret: do it.
        #[arg(long, requires = "retire_secret")]
        yes: bool,
    },
    /// Treat a connection's signatures in another way. Without --yes it is only shown what the requests of the last
    /// 24 hours would have got.
    #[command(after_help = "Example:\n  smpctl connection mode vn-main enforce")]
    Mode {
        /// Which.
        #[arg(value_parser = connection_id)]
        id: String,
        /// off, observe or enforce.
        mode: Mode,
        /// Change it.
        #[arg(long)]
        yes: bool,
        /// Enforce, though none of the last 24 hours' requests was seen to be rightly signed.
        #[arg(long)]
        unseen: bool,
    },
    /// Say from where a connection's webhooks come. Without --yes it is only shown.
    #[command(after_help = "Examples:\n  \
        smpctl connection allow vn-main 203.0.113.0/24 2001:db8::/32 --yes\n  \
        smpctl connection allow vn-main --yes   # from anywhere")]
    Allow {
        /// Which.
        #[arg(value_parser = connection_id)]
        id: String,
        /// Addresses and ranges (CIDR); from anywhere if there is none.
        ranges: Vec<String>,
        /// Change it.
        #[arg(long)]
        yes: bool,
    },
    /// Take nothing more by a connection: at once in its country's core, everywhere at the edge within two minutes.
    /// Without --yes it is only shown.
    #[command(after_help = "Example:\n  \
        smpctl connection revoke vn-main --reason 'its token was in a chat' --yes")]
    Revoke {
        /// Which.
        #[arg(value_parser = connection_id)]
        id: String,
        /// Why: the core keeps it in the connection's history. No customer's data.
        #[arg(long)]
        reason: String,
        /// Its country, if the edge does not know it any more: then the core's row is disabled all the same.
        #[arg(long)]
        country: Option<Country>,
        /// Revoke it.
        #[arg(long)]
        yes: bool,
    },
    /// Give a connection its key of Pancake's REST interface, in place of the one before. Its country's core keeps it,
    /// sealed; the edge has nothing to do with it.
    #[command(after_help = "Example:\n  smpctl connection api-key vn-main --key vn-main.api-key")]
    ApiKey {
        /// Which.
        #[arg(value_parser = connection_id)]
        id: String,
        /// The file that holds the key, as Pancake shows it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Seal the connections anew, with the first of CONNECTIONS_KEYS: after that the other keys can go.
    #[command(after_help = "Example:\n  smpctl connection reseal")]
    Reseal,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Rotation {
    /// Where to write the new token; one that is there already is taken.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Where to write the new secret; one that is there already is taken.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Keep the newest secret only.
    #[arg(long)]
    retire_secret: bool,
}

pub(crate) fn connection_id(text: &str) -> Result<String, String> {
    let id = ConnectionId::parse(text).map_err(|error| error.to_string())?;
    Ok(id.to_string())
}

/// Runs one of them.
pub(crate) fn run(action: Action, rights: &Rights) -> ExitCode {
    print_or_fail(act(action, rights))
}

/// What to print.
fn act(action: Action, rights: &Rights) -> Result<String, String> {
    let client = rights.access.client()?;
    let outcome = match action {
        Action::List => {
            let list = client.connections()?;
            return Ok(if rights.json {
                format!("{:#}\n", json!(list))
            } else {
                list_table(&list, now_secs())
            });
        }
        Action::Add {
            id,
            country,
            workspace,
            token,
            secret,
            mode,
            allow,
        } => {
            let entry = Entry {
                id,
                token_sha256: String::new(),
                old_token_sha256: None,
                old_token_good_until: 0,
                country: country.to_string(),
                mode,
                secrets: Vec::new(),
                allow,
            };
            add(
                &client,
                rights,
                entry,
                workspace.as_deref(),
                (&token, secret.as_deref()),
            )?
        }
        Action::Import { file, yes } => import(&client, rights, &file, yes)?,
        Action::Rotate {
            id,
            what,
            old_good_secs,
            yes,
        } => rotate(&client, id, &what, (old_good_secs, yes))?,
        Action::Mode {
            id,
            mode,
            yes,
            unseen,
        } => return set_mode(&client, (id, mode), (yes, unseen), rights.json),
        Action::Allow { id, ranges, yes } => {
            let listed = find(&client, &id)?;
            let show = |ranges: &[String]| match ranges {
                [] => "anywhere".to_owned(),
                ranges => ranges.join(" "),
            };
            let shown = format!(
                "{id}: from {}; then {}\n",
                show(&listed.allow),
                show(&ranges)
            );
            if yes {
                let change = Change::SetAllow { id, allow: ranges };
                Outcome::changed(&shown, client.change_connections(&change)?)
            } else {
                Outcome::shown(shown + "--yes changes it; it is as it was\n")
            }
        }
        Action::Revoke {
            id,
            reason,
            country,
            yes,
        } => revoke(&client, rights, (&id, country), &reason, yes)?,
        Action::Reseal => Outcome::changed("", client.change_connections(&Change::Reseal)?),
        Action::ApiKey { id, key } => {
            let country = read_country(&find(&client, &id)?.country)?;
            let staff = rights
                .staff()?
                .ok_or("the core keeps it: --edge-only does nothing")?;
            let core = rights.core_client();
            let staff = staff_of(core.as_ref(), &client, &staff, country);
            staff.set_api_key(&id, &read_secret(&key)?)?;
            Outcome::done(format!("{id}: {country}'s core has its API key\n"))
        }
    };
    Ok(outcome.text(rights.json))
}

impl Rights {
    fn core_client(&self) -> Option<edge::Client> {
        let core = self.core.as_ref()?;
        // A core wants no token of the edge's.
        Some(edge::Client::new(core.as_str(), String::new()))
    }

    /// The bearer token for the cores; nothing if their rows are left alone.
    fn staff(&self) -> Result<Option<String>, String> {
        if self.edge_only {
            return Ok(None);
        }
        let token = match &self.staff_token_file {
            Some(path) => Some(read_secret(path)?),
            None => from_environment("SMP_STAFF_TOKEN"),
        };
        let missing = "by whose right in the core? --staff-token-file or SMP_STAFF_TOKEN says it; --edge-only leaves \
                       the core's row alone";
        token.map(Some).ok_or_else(|| missing.to_owned())
    }
}
