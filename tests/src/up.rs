//! The platform in the background.

use std::fs;
use std::future::pending;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use platform::ports::Ports;
use platform::system::{LOCAL, System};
use platform::{checkout, office, secrets};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the platform and writes `.run/platform.env`.
pub(crate) async fn start() -> Result<System> {
    let run = checkout::run_dir("")?;
    ensure!(
        running(&run)?.is_empty(),
        "the platform is up already (.run/platform.env): 'make down' stops it"
    );
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
    let pids = system
        .pids()?
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(run.join("pids"), pids)?;
    secrets::write_private(&run.join("platform.env"), &system.env_file())?;
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
    let groups = running(&run)?;
    for group in &groups {
        // Gone since we looked is as good as stopped.
        let _ = kill(*group, Signal::SIGINT);
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    while !running(&run)?.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for group in &groups {
        let _ = killpg(*group, Signal::SIGKILL);
    }
    forget()?;
    say(if groups.is_empty() {
        "nothing was up"
    } else {
        "down"
    });
    Ok(())
}

/// Removes what says that the platform is up.
pub(crate) fn forget() -> Result<()> {
    let run = checkout::run_dir("")?;
    for name in ["pids", "platform.env"] {
        match fs::remove_file(run.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
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

/// The processes of `.run/pids` that are alive.
fn running(run: &Path) -> Result<Vec<Pid>> {
    let Ok(text) = fs::read_to_string(run.join("pids")) else {
        return Ok(Vec::new());
    };
    let mut alive = Vec::new();
    for line in text.lines() {
        let pid = Pid::from_raw(line.parse().context(".run/pids: a number is expected")?);
        if kill(pid, None) != Err(Errno::ESRCH) {
            alive.push(pid);
        }
    }
    Ok(alive)
}

/// Tells the person at the terminal.
#[expect(clippy::print_stdout, reason = "this program talks to people")]
pub(crate) fn say(line: &str) {
    println!("{line}");
    // Whoever closed the terminal does not read on; that is no failure of ours.
    if std::io::stdout().is_terminal() {
        let _ = std::io::stdout().flush();
    }
}
