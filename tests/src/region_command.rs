//! `platform region`: a region is added to the platform that is up, or taken from it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use platform::regions::{Files, Platform, Registry};
use protocol::RegionId;

use crate::up::say;

#[derive(Subcommand)]
pub(crate) enum RegionCommand {
    /// Start a region of the registry, or what is missing of it, or runs with other settings than it should.
    ///
    /// What `kubectl apply -k infra/rendered/kubernetes/REGION/STAGE` does in production, from the same files: what is
    /// rendered, and the files of which Kubernetes' Secrets are made (docs/kubernetes.md), with this machine's addresses
    /// in place of theirs. Killed, it goes on when it is run again.
    #[command(
        after_help = "Example:\n  platform region up smp-us --stage stores\n  platform region up smp-asia --stage services    \
                      # the hub's relay then asks smp-us, too\n  platform region up smp-us --stage services"
    )]
    Up(UpArguments),
    /// Stop a region, and forget it. Its databases stay, and are there when it comes up again.
    #[command(
        after_help = "Example:\n  platform region down smp-us\n  platform region up smp-asia --stage services    # the \
                      hub's relay asks it no more"
    )]
    Down {
        /// The region's id. The hub stays as long as the platform does.
        id: RegionId,
        /// The folder of the platform, below the checkout's .run.
        #[arg(long, default_value = ".run")]
        run: PathBuf,
        /// Remove its databases, too. They cannot be had again.
        #[arg(long)]
        purge: bool,
    },
    /// Give the edge its secrets anew, if `edge.json` has others.
    #[command(after_help = "Example:\n  platform region edge --secrets .run/secrets")]
    Edge {
        /// The folder of the platform, below the checkout's .run.
        #[arg(long, default_value = ".run")]
        run: PathBuf,
        /// The folder of edge.json, as `wrangler secret bulk` takes it.
        #[arg(long, default_value = ".run/secrets")]
        secrets: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct UpArguments {
    /// The region's id.
    id: RegionId,
    /// What of it.
    #[arg(long)]
    stage: Stage,
    /// The folder of the platform, below the checkout's .run.
    #[arg(long, default_value = ".run")]
    run: PathBuf,
    /// The regions' files.
    #[arg(long, default_value = "infra/regions")]
    regions: PathBuf,
    /// What `smpctl render` made of them.
    #[arg(long, default_value = "infra/rendered")]
    rendered: PathBuf,
    /// The secrets: a folder for each region, with core.env, core-setup.env, replicator.env and replicator-setup.env.
    #[arg(long, default_value = ".run/secrets")]
    secrets: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    /// PostgreSQL and Kafka.
    Stores,
    /// Schemas, core, replicator and, behind the hub, MirrorMaker 2.
    Services,
}

pub(crate) async fn run(command: RegionCommand) -> Result<()> {
    match command {
        RegionCommand::Up(arguments) => {
            let registry = Registry::read(&arguments.regions)?;
            let mut platform = Platform::open(&arguments.run, &say)?;
            match arguments.stage {
                Stage::Stores => platform.start_stores(&arguments.id, &registry).await,
                Stage::Services => {
                    let files = Files {
                        rendered: arguments.rendered,
                        secrets: arguments.secrets,
                    };
                    let services = platform.start_services(&arguments.id, &registry, &files);
                    services.await
                }
            }
        }
        RegionCommand::Down { id, run, purge } => {
            Platform::open(&run, &say)?.stop_region(&id, purge)
        }
        RegionCommand::Edge { run, secrets } => Platform::open(&run, &say)?.apply_edge(&secrets),
    }
}
