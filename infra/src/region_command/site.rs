//! What belongs to a region: its file, what is rendered of it, its secrets, its part of the edge, and how its stages are
//! put in force.

mod secret_files;

pub(super) use secret_files::Lacking;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use infra::check;
use infra::files::read;
use infra::registry::{self, Region, Registry, Role};
use infra::render::{self, Comparison};
use infra::route::edit;
use infra::secrets;
use protocol::RegionId;
use protocol::routes::{Origin, RouteState, RouteTable};

use crate::edge_command::from_environment;
use crate::route_command::{Deployment, Place};
use crate::shell::{finish, shell};

/// Where the files are, and by which commands they are put in force.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Works {
    /// The folder of what is rendered.
    #[arg(long, default_value = "infra/rendered", value_name = "FOLDER")]
    rendered: PathBuf,
    /// The folder of the secrets: edge.json, and of each region core.env, core-setup.env, replicator.env,
    /// replicator-setup.env; else the environment's SMP_SECRETS, or the folder secrets/ of --local.
    #[arg(long, value_name = "FOLDER")]
    secrets: Option<PathBuf>,
    /// What puts a stage of a region in force, for example tools/apply-region.sh. It finds SMP_REGION, SMP_STAGE (stores,
    /// services or gone), SMP_MANIFESTS, SMP_SECRETS, SMP_NAMESPACE, SMP_HUB and SMP_HUB_NAMESPACE in its environment. Left
    /// out, it is said what is to be done; with --local, platform does it.
    #[arg(long, value_name = "COMMAND")]
    apply: Option<String>,
    /// What gives the edge its secrets; else npx wrangler secret bulk.
    #[arg(long, value_name = "COMMAND")]
    apply_edge: Option<String>,
    #[command(flatten)]
    pub(super) place: Place,
}

/// What is put in force at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Database and Kafka.
    Stores,
    /// What is ours.
    Services,
    /// Nothing is left running.
    Gone,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Stores => "stores",
            Self::Services => "services",
            Self::Gone => "gone",
        }
    }
}

/// A region, there or not yet.
pub(super) struct Site<'w> {
    pub(super) id: RegionId,
    pub(super) works: &'w Works,
    secrets: Option<PathBuf>,
    /// Where somebody says that the edge finds the region's core.
    origin: Option<Origin>,
}

impl<'w> Site<'w> {
    /// Other environments have other routes only: registry, secrets and clusters are production's.
    pub(super) fn new(id: RegionId, works: &'w Works) -> Result<Self, String> {
        works.place.only_production()?;
        let local = works.place.local().map(|folder| folder.join("secrets"));
        let from_environment = || from_environment("SMP_SECRETS").map(PathBuf::from);
        let secrets = works.secrets.clone().or(local).or_else(from_environment);
        Ok(Self {
            id,
            works,
            secrets,
            origin: None,
        })
    }

    /// The same, whose core is where somebody says.
    pub(super) fn with_origin(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
    }

    pub(super) fn place(&self) -> &'w Place {
        &self.works.place
    }

    pub(super) fn registry(&self) -> Registry {
        registry::survey(self.place().regions())
    }

    /// Where the region's file is.
    pub(super) fn file(&self) -> PathBuf {
        self.place().regions().join(format!("{}.toml", self.id))
    }

    /// The region, as its file says it.
    pub(super) fn region(&self) -> Result<Region, String> {
        let registry = self.registry();
        if let Some(region) = registry.find(&self.id) {
            return Ok(region.clone());
        }
        let file = self.file();
        if registry.lacks(&self.id) {
            return Err(format!(
                "{} is not there: smpctl region add {}{}",
                file.display(),
                self.id,
                self.place().flag()
            ));
        }
        Err(registry.mistakes.join("; "))
    }

    /// The hub's id.
    pub(super) fn hub(&self) -> Result<RegionId, String> {
        let registry = self.registry();
        let hub = registry
            .regions
            .into_iter()
            .find(|region| region.role == Role::Hub);
        hub.map(|hub| hub.id)
            .ok_or_else(|| format!("{}: no region is the hub", self.place().regions().display()))
    }

    /// How what is rendered compares to a registry.
    pub(super) fn compare(&self, registry: &Registry) -> Result<Vec<Comparison>, String> {
        Ok(self.hold_against(registry)?.1)
    }

    /// Makes what is rendered what a registry says; gives the files that were not.
    pub(super) fn render(&self, registry: &Registry) -> Result<Vec<String>, String> {
        let (rendered, files) = self.hold_against(registry)?;
        render::write(&rendered, &files, &self.works.rendered)
            .map_err(|error| self.in_rendered(&error))?;
        Ok(differing(files))
    }

    fn hold_against(
        &self,
        registry: &Registry,
    ) -> Result<(BTreeMap<String, String>, Vec<Comparison>), String> {
        let rendered = render::all(registry).map_err(|mistakes| mistakes.join("; "))?;
        let files = render::compare(&rendered, &self.works.rendered)
            .map_err(|error| self.in_rendered(&error))?;
        Ok((rendered, files))
    }

    fn in_rendered(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.works.rendered.display())
    }

    /// The route table of `wrangler.toml`.
    pub(super) fn routes(&self) -> Result<RouteTable, String> {
        let text = read(self.place().wrangler())?;
        edit::routes(&text, self.place().environment())
    }

    /// The other environments of `wrangler.toml` that have a route to it.
    pub(super) fn other_environments_with_it(&self) -> Result<Vec<String>, String> {
        let text = read(self.place().wrangler())?;
        let (environments, _) = check::read_environments(&text);
        let others = environments.into_iter().filter(|environment| {
            let mut regions = environment.routes.regions();
            environment.name != self.place().environment()
                && regions.any(|route| route.region == self.id)
        });
        Ok(others.map(|environment| environment.name).collect())
    }

    /// Where the edge finds the region's core, unless somebody says it: beside the replicator.
    pub(super) fn origin(&self) -> Result<Origin, String> {
        if let Some(origin) = &self.origin {
            return Ok(origin.clone());
        }
        let region = self.region()?;
        let replicator = region.replicator.as_ref().map(ToString::to_string);
        let core = replicator.and_then(|origin| {
            Some(format!(
                "https://core.{}",
                origin.strip_prefix("https://replicator.")?
            ))
        });
        core.and_then(|origin| Origin::parse(&origin).ok())
            .ok_or_else(|| {
                format!(
                    "where does the core of {} answer? --origin https://… says it",
                    self.id
                )
            })
    }

    /// Whether its route is open or paused; none if it has none.
    pub(super) fn route_state(&self) -> Result<Option<RouteState>, String> {
        let routes = self.routes()?;
        let mut regions = routes.regions();
        let route = regions.find(|route| route.region == self.id);
        Ok(route.map(|route| route.state))
    }

    /// Whether nothing says how stages are put in force: somebody does it.
    pub(super) fn is_by_hand(&self) -> bool {
        self.works.apply.is_none() && self.place().local().is_none()
    }

    /// What somebody is to put in force, in this order.
    pub(super) fn by_hand(&self, stages: &[(&RegionId, Stage)]) -> Result<String, String> {
        let secrets = self.secrets()?;
        let lines = stages.iter().map(|(region, stage)| {
            let manifests = self.manifests(region, *stage);
            match stage {
                Stage::Services => format!(
                    "- {}, with the Secrets of {}\n",
                    manifests.display(),
                    secrets.join(region.as_str()).display()
                ),
                _ => format!("- {}\n", manifests.display()),
            }
        });
        Ok(format!(
            "put these in force, in this order (docs/kubernetes.md), then run the same command again:\n{}or --apply COMMAND \
             does it from here, for example tools/apply-region.sh",
            lines.collect::<String>()
        ))
    }

    fn manifests(&self, region: &RegionId, stage: Stage) -> PathBuf {
        let regions = self.works.rendered.join("kubernetes");
        regions.join(region.as_str()).join(stage.name())
    }

    pub(super) fn deployment(&self) -> Result<Deployment, String> {
        Deployment::of(self.place())
    }

    /// Puts a stage of a region in force. The error says what is to be done by hand.
    pub(super) fn apply(&self, region: &RegionId, stage: Stage) -> Result<(), String> {
        let secrets = self.secrets()?;
        let mut command = match (&self.works.apply, self.place().local()) {
            (Some(apply), _) => shell(apply),
            (None, Some(run)) if stage == Stage::Gone => {
                let mut command = Command::new(beside("platform")?);
                command.args(["region", "down", region.as_str(), "--run"]);
                command.arg(run);
                command
            }
            (None, Some(run)) => local_stage(
                run,
                (region, stage.name()),
                self.place().regions(),
                &self.works.rendered,
                secrets,
            )?,
            (None, None) => return Err(self.by_hand(&[(region, stage)])?),
        };
        let variables =
            stage_variables(&self.registry(), &self.works.rendered, region, stage.name());
        command
            .envs(variables)
            .env("SMP_SECRETS", secrets.join(region.as_str()));
        put_in_force(&mut command, &format!("{} of {region}", stage.name()))
    }

    /// Gives the edge its secrets.
    pub(super) fn apply_edge(&self) -> Result<(), String> {
        let secrets = self.secrets()?;
        let edge = secrets.join(secrets::EDGE);
        let mut command = match (&self.works.apply_edge, self.place().local()) {
            (None, Some(run)) => {
                let mut command = Command::new(beside("platform")?);
                command
                    .args(["region", "edge", "--run"])
                    .arg(run)
                    .arg("--secrets")
                    .arg(secrets);
                command
            }
            (apply, _) => {
                let bulk = format!(
                    "npx wrangler secret bulk '{}' --config '{}' --env=''",
                    edge.display(),
                    self.place().wrangler().display()
                );
                shell(apply.as_deref().unwrap_or(&bulk))
            }
        };
        put_in_force(&mut command, "the edge's secrets")
    }
}

/// The files that are not as they would be rendered.
pub(super) fn differing(files: Vec<Comparison>) -> Vec<String> {
    let differing = files
        .into_iter()
        .filter(|file| file.state != render::State::Same);
    differing.map(|file| file.file).collect()
}

/// What a command that puts a stage of a region in force finds in its environment, but for the secrets.
pub(crate) fn stage_variables(
    registry: &Registry,
    rendered: &Path,
    region: &RegionId,
    stage: &str,
) -> Vec<(&'static str, String)> {
    let namespace = |id: &RegionId| {
        let region = registry.find(id);
        region.map_or_else(|| id.to_string(), |region| region.namespace().to_owned())
    };
    let manifests = rendered
        .join("kubernetes")
        .join(region.as_str())
        .join(stage);
    let mut variables = vec![
        ("SMP_REGION", region.to_string()),
        ("SMP_STAGE", stage.to_owned()),
        ("SMP_MANIFESTS", manifests.display().to_string()),
        ("SMP_NAMESPACE", namespace(region)),
    ];
    let mut regions = registry.regions.iter();
    if let Some(hub) = regions.find(|region| region.role == Role::Hub) {
        variables.push(("SMP_HUB", hub.id.to_string()));
        variables.push(("SMP_HUB_NAMESPACE", namespace(&hub.id)));
    }
    variables
}

/// What puts a stage of a region in force on the platform of this machine.
pub(crate) fn local_stage(
    run: &Path,
    (region, stage): (&RegionId, &str),
    regions: &Path,
    rendered: &Path,
    secrets: &Path,
) -> Result<Command, String> {
    let mut command = Command::new(beside("platform")?);
    command.args(["region", "up", region.as_str(), "--stage", stage, "--run"]);
    command.arg(run).arg("--regions").arg(regions);
    command.arg("--rendered").arg(rendered);
    command.arg("--secrets").arg(secrets);
    Ok(command)
}

/// A program of this repository, which is built beside this one.
fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "{} is not there: cargo build --workspace",
        program.display()
    ))
}

/// Runs what puts something in force.
fn put_in_force(command: &mut Command, what: &str) -> Result<(), String> {
    finish(command).map_err(|why| go_on(format_args!("{what}: the command {why}")))
}

/// What is to be done about a mistake in the midst of a command whose steps are seen where they were made.
pub(super) fn go_on(mistake: impl Display) -> String {
    format!("{mistake}; once that is mended, run the same command again")
}
