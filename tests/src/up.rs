//! The platform in the background.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use platform::ports::Ports;
use platform::process::record::{Record, Records};
use platform::system::{LOCAL, System};
use platform::{checkout, office, platform_env, regions};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the platform and writes `.run/platform.env`.
pub(crate) async fn start() -> Result<System> {
    let run = checkout::run_dir("")?;
    ensure!(
        running(&run)?.is_empty(),
        "the platform is up already (.run/platform.env): 'make down' stops it"
    );
    // By its log it is found, so before that goes.
    regions::end_what_is_left(&run)?;
    remove_old_logs(&run)?;
    let started = Instant::now();
    let progress = |step: &str| {
        say(&format!(
            "[{:>4.1} s] {step}",
            started.elapsed().as_secs_f32()
        ));
    };
    let ports = Ports::from_env()?;
    let starting = async {
        let mut system = System::start(LOCAL, ports, progress).await?;
        for (country, telesales) in office::OPEN {
            let connection = system.connection(country)?;
            let region = system.region_of(country)?;
            office::open(region, connection, &telesales).await?;
        }
        system.start_master_data(LOCAL, ports, progress).await?;
        anyhow::Ok(system)
    };
    // Dropped half started, it takes down what it has started so far.
    let mut system = tokio::select! {
        system = Box::pin(starting) => system?,
        () = interrupted() => bail!("interrupted"),
    };
    system.hand_over()?;
    say(&format!("[{:>4.1} s] up", started.elapsed().as_secs_f32()));
    Ok(system)
}

/// Removes the logs of the platform that was up before: its processes are gone.
fn remove_old_logs(run: &Path) -> Result<()> {
    let Ok(logs) = fs::read_dir(run.join("logs")) else {
        return Ok(());
    };
    for log in logs {
        let log = log?;
        // Those of `with-postgres` are here too, and may be in use.
        if !log.file_name().to_string_lossy().starts_with("throw-away-") {
            fs::remove_file(log.path())?;
        }
    }
    Ok(())
}

/// Waits for Ctrl-C, or for somebody to ask this program to end.
pub(crate) async fn interrupted() {
    // Without handlers the system's own hold: the program ends at once.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return pending().await;
    };
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Starts the platform and leaves it running.
pub(crate) async fn up() -> Result<()> {
    let mut system = start().await?;
    system.detach()?;
    say(&format!(
        "edge {}; all addresses and secrets are in .run/platform.env",
        system.edge.url
    ));
    Ok(())
}

/// Stops the platform that [`up`] left running.
pub(crate) fn down() -> Result<()> {
    let run = checkout::run_dir("")?;
    let processes = running(&run)?;
    let is_mirror = |name: &str| name.ends_with("-mirror");
    // MirrorMaker 2 waits for brokers that are gone before it.
    ask_to_end(&processes, is_mirror);
    ask_to_end(&processes, |name| !is_mirror(name));
    for process in processes.values() {
        let _ = killpg(process.pid(), Signal::SIGKILL);
    }
    // What a killed 'platform region' has left.
    let was_left = regions::end_what_is_left(&run)?;
    forget()?;
    say(if processes.is_empty() && !was_left {
        "nothing was up"
    } else {
        "down"
    });
    Ok(())
}

/// Asks processes to end, and waits until they have, or for long enough.
fn ask_to_end(processes: &BTreeMap<String, Record>, which: impl Fn(&str) -> bool) {
    let mut processes: Vec<_> = processes.iter().filter(|(name, _)| which(name)).collect();
    for (name, process) in &processes {
        // A JVM that a shell started in its background ignores SIGINT.
        let signal = if name.ends_with("-kafka") || name.ends_with("-mirror") {
            Signal::SIGTERM
        } else {
            Signal::SIGINT
        };
        // Gone since we looked is as good as stopped.
        let _ = kill(process.pid(), signal);
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    while !processes.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        processes.retain(|(_, process)| process.is_alive());
    }
}

/// Removes what says that the platform is up.
pub(crate) fn forget() -> Result<()> {
    let run = checkout::run_dir("")?;
    let records = Records::of(&run);
    for name in records.all()?.keys() {
        records.remove(name)?;
    }
    match fs::remove_file(run.join(platform_env::FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes what `make` cannot know of: as root, PostgreSQL's copy and data lie outside of the checkout.
pub(crate) fn clean() -> Result<()> {
    // Where `platform::postgres` puts them.
    let outside = PathBuf::from(format!("/var/tmp/smp-global-{}", checkout::fingerprint()));
    if outside.exists() {
        fs::remove_dir_all(&outside)
            .with_context(|| format!("cannot remove {}", outside.display()))?;
    }
    Ok(())
}

/// The processes of the platform that are alive, by their names.
fn running(run: &Path) -> Result<BTreeMap<String, Record>> {
    let mut processes = Records::of(run).all()?;
    processes.retain(|_, process| process.is_alive());
    Ok(processes)
}

/// Tells the person at the terminal, or whoever started this program. Who does not read on is no failure of ours.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
