//! `smpctl edge`: what ops ask the edge.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use infra::{check, edge, smoke};
use protocol::ops::{OpsToken, Scope};
use serde_json::json;
use ureq::http::Uri;

use crate::{print_or_fail, random, write_secret};

/// Which edge, and by which right.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Access {
    /// The edge's origin; else the environment's EDGE_URL.
    #[arg(long, global = true, value_name = "URL")]
    edge: Option<String>,
    /// The file that holds the token; else the environment's EDGE_OPS_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// Regions with what waits for them, connections with what is used up of Pancake's patience.
    #[command(after_help = "Example:\n  smpctl edge status --json | jq .regions")]
    Status {
        /// Print JSON in place of the tables.
        #[arg(long)]
        json: bool,
    },
    /// Records that their region refused ten times while it took others: the first hundred of each shard.
    #[command(
        after_help = "Example:\n  smpctl edge parked --region smp-asia --json | jq '.[].cause'"
    )]
    Parked {
        /// The region.
        #[arg(long)]
        region: protocol::RegionId,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Let a region's parked records be tried again, once what stood in their way is mended.
    #[command(after_help = "Example:\n  smpctl edge retry --region smp-asia")]
    Retry {
        /// The region.
        #[arg(long)]
        region: protocol::RegionId,
        /// Print JSON in place of a line.
        #[arg(long)]
        json: bool,
    },
    /// Remove a parked record for good. It is somebody's lead: without --yes it is only shown.
    #[command(
        after_help = "Example:\n  smpctl edge discard --region smp-asia --shard 3 --seq 12 --yes"
    )]
    Discard {
        /// The region.
        #[arg(long)]
        region: protocol::RegionId,
        /// Its shard, as `parked` shows it.
        #[arg(long)]
        shard: u32,
        /// Its number there.
        #[arg(long)]
        seq: u64,
        /// Remove it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Ask a deployment, from outside, whether it does what the route table says: its version, each country's way to
    /// its core, an unknown token. Changes nothing, but with --webhook-token one record is sent, twice.
    #[command(after_help = "Example:\n  \
        smpctl edge --edge https://edge.example.com smoke --environment production")]
    Smoke {
        /// The Worker's configuration.
        #[arg(long, default_value = "wrangler.toml")]
        wrangler: PathBuf,
        /// Which of its environments this is.
        #[arg(long, default_value = "production")]
        environment: String,
        /// The file that holds the webhook token of a connection: a record without a name or number goes in by it.
        #[arg(long, value_name = "FILE", requires = "webhook_secret")]
        webhook_token: Option<PathBuf>,
        /// The file that holds that connection's secret.
        #[arg(long, value_name = "FILE", requires = "webhook_token")]
        webhook_secret: Option<PathBuf>,
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// Make a token for ops. It is written to a file, for its owner only; what is printed belongs into the
    /// edge's secret OPS_TOKENS, a JSON array of such entries.
    #[command(after_help = "Example:\n  \
        smpctl edge token --name prometheus --token prometheus.token\n  \
        printf '[%s]' \"$(...the entries...)\" | npx wrangler secret put OPS_TOKENS")]
    Token {
        /// Whose it is.
        #[arg(long)]
        name: String,
        /// Where to write it. It must not be there yet.
        #[arg(long, value_name = "FILE")]
        token: PathBuf,
        /// It may change what the edge holds, too.
        #[arg(long)]
        admin: bool,
    },
}

/// Runs one of them.
pub(crate) fn run(action: Action, access: &Access) -> ExitCode {
    let Action::Smoke {
        wrangler,
        environment,
        webhook_token,
        webhook_secret,
        json,
    } = action
    else {
        return print_or_fail(ask(action, access));
    };
    let lead = (webhook_token.as_deref(), webhook_secret.as_deref());
    match smoke_deployment(access, (&wrangler, &environment), lead) {
        Ok(steps) => show_steps(&steps, json),
        Err(mistake) => print_or_fail(Err(mistake)),
    }
}

/// What to print.
fn ask(action: Action, access: &Access) -> Result<String, String> {
    if let Action::Token { name, token, admin } = action {
        return make_ops_token(&name, &token, admin);
    }
    let client = access.client()?;
    match action {
        Action::Status { json } => {
            let status = client.status()?;
            Ok(if json {
                format!("{:#}\n", json!(status))
            } else {
                edge::status_table(&status)
            })
        }
        Action::Parked { region, json } => {
            let parked = client.parked(region.as_str())?;
            Ok(if json {
                format!("{:#}\n", json!(parked))
            } else {
                edge::parked_table(&parked, now_ms())
            })
        }
        Action::Retry { region, json } => {
            let records = client.try_parked_again(region.as_str())?;
            Ok(if json {
                format!("{:#}\n", json!({"records": records}))
            } else {
                format!("{records} records are tried again\n")
            })
        }
        Action::Discard {
            region,
            shard,
            seq,
            yes,
            json,
        } => discard(&client, &region, (shard, seq), yes, json),
        Action::Token { .. } | Action::Smoke { .. } => Err("nothing to ask".to_owned()),
    }
}

/// What to print: the record, or that it is gone.
fn discard(
    client: &edge::Client,
    region: &protocol::RegionId,
    (shard, seq): (u32, u64),
    yes: bool,
    as_json: bool,
) -> Result<String, String> {
    if yes {
        client.discard(region.as_str(), shard, seq)?;
        return Ok(if as_json {
            format!("{:#}\n", json!({"is_done": true}))
        } else {
            format!("record {seq} of shard {shard} is gone\n")
        });
    }
    let mut parked = client.parked(region.as_str())?;
    parked.retain(|record| (record.shard, record.seq) == (shard, seq));
    if parked.is_empty() {
        return Err(format!(
            "shard {shard} of {region} lists no parked record {seq} (smpctl edge parked --region {region})"
        ));
    }
    if as_json {
        return Ok(format!(
            "{:#}\n",
            json!({"is_done": false, "record": parked.first()})
        ));
    }
    let table = edge::parked_table(&parked, now_ms());
    Ok(format!("{table}--yes removes it; it is still there\n"))
}

fn smoke_deployment(
    access: &Access,
    (wrangler, environment): (&Path, &str),
    (token, secret): (Option<&Path>, Option<&Path>),
) -> Result<Vec<smoke::Step>, String> {
    let in_file = |error: std::io::Error| format!("{}: {error}", wrangler.display());
    let text = fs::read_to_string(wrangler).map_err(in_file)?;
    let (environments, mistakes) = check::read_environments(&text);
    let found = environments
        .iter()
        .find(|known| known.name == environment)
        .ok_or_else(|| {
            let mistakes = mistakes.join("; ");
            format!(
                "{}: no environment {environment} {mistakes}",
                wrangler.display()
            )
        })?;
    let smoke = smoke::Smoke::new(&access.origin()?, &found.routes);
    let mut steps = smoke.routes();
    if let (Some(token), Some(secret)) = (token, secret) {
        let lead = smoke::Lead {
            token: read_secret(token)?,
            secret: read_secret(secret)?,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "time is positive"
        )]
        let now = (now_ms() / 1_000.0) as u64;
        let id = uuid::Builder::from_random_bytes(random()?)
            .into_uuid()
            .to_string();
        steps.extend(smoke.lead(&lead, (&id, now)));
    }
    Ok(steps)
}

fn show_steps(steps: &[smoke::Step], as_json: bool) -> ExitCode {
    let text = if as_json {
        format!("{:#}\n", json!(steps))
    } else {
        smoke::table(steps)
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    if steps.iter().all(|step| step.is_right) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The file's text without what an editor put at its end.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

pub(crate) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The edge's origin as it was given, else the environment's.
pub(crate) fn edge_origin(given: Option<&str>) -> Result<String, String> {
    let (name, origin) = match given {
        Some(origin) => ("--edge", Some(origin.to_owned())),
        None => ("EDGE_URL", from_environment("EDGE_URL")),
    };
    let origin = origin.ok_or("which edge? --edge or EDGE_URL says it")?;
    let is_address = origin.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    });
    if is_address {
        Ok(origin)
    } else {
        Err(format!(
            "{name} is no address: https://HOST is expected, or http://127.0.0.1:PORT"
        ))
    }
}

impl Access {
    pub(crate) fn origin(&self) -> Result<String, String> {
        edge_origin(self.edge.as_deref())
    }

    pub(crate) fn client(&self) -> Result<edge::Client, String> {
        let origin = self.origin()?;
        let token = match &self.token_file {
            Some(path) => Some(read_secret(path)?),
            None => from_environment("EDGE_OPS_TOKEN"),
        };
        let token = token.ok_or("by which token? --token-file or EDGE_OPS_TOKEN says it")?;
        Ok(edge::Client::new(&origin, token))
    }
}

/// A secret that nobody guesses: 32 random bytes as 43 characters that stand in a URL as they are.
pub(crate) fn random_token() -> Result<String, String> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// What to print: the entry of the token's hash.
fn make_ops_token(name: &str, file: &Path, admin: bool) -> Result<String, String> {
    let token = random_token()?;
    write_secret(file, &format!("{token}\n"))?;
    let scope = if admin { Scope::Admin } else { Scope::Read };
    Ok(format!("{}\n", json!(OpsToken::new(name, &token, scope))))
}

pub(crate) fn now_ms() -> f64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}
