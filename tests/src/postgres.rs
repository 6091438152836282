//! An embedded PostgreSQL server: real binaries from npm, a data directory of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, PgConnection};

use crate::checkout;
use crate::process::Process;
use crate::service::Server;

/// The user and group that PostgreSQL runs as where we are root, which it refuses to be: `nobody`,
/// by the number that every system gives it.
const NOBODY: u32 = 65_534;

/// A running server, with superuser `postgres`.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    binaries: PathBuf,
    data: PathBuf,
    log: PathBuf,
    server: Server,
}

impl Postgres {
    /// Starts a server named `name` on `port`. A data directory of that name is made anew: what a
    /// platform holds is demonstration data.
    pub async fn start(name: &str, port: u16, log: &Path) -> Result<Self> {
        remove_data(name)?;
        let password = crate::secrets::random_hex()?;
        Self::open(name, Server { port, password }, log).await
    }

    /// The same on the data that is there, if there is any: `server` has the password that they were made with.
    pub async fn open(name: &str, server: Server, log: &Path) -> Result<Self> {
        let binaries = binaries()?;
        let data = home()?.join(name);
        let was_there = data.exists();
        if !was_there {
            make_data(&binaries, &data, &server.password, log)?;
        }
        let process = spawn(&binaries, &data, server.port, log)?;
        let mut postgres = Self {
            process,
            binaries,
            data,
            log: log.to_owned(),
            server,
        };
        if let Err(error) = postgres.wait_until_ready().await {
            // One that was killed on these data may not be quite gone.
            if !was_there || postgres.process.is_running()? {
                return Err(error);
            }
            postgres.start_again().await?;
        }
        Ok(postgres)
    }

    /// A server that runs, whoever started it.
    pub async fn find(name: &str, server: Server, process: Process, log: &Path) -> Result<Self> {
        let mut postgres = Self {
            process,
            binaries: binaries()?,
            data: home()?.join(name),
            log: log.to_owned(),
            server,
        };
        postgres.wait_until_ready().await?;
        Ok(postgres)
    }

    /// Where it is, and the password of its superuser.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The superuser's URL of a database.
    #[must_use]
    pub fn admin_url(&self, database: &str) -> String {
        self.url("postgres", &self.server.password, database)
    }

    /// The URL of a database for a role.
    #[must_use]
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/{database}",
            self.server.port
        )
    }

    /// Kills the server with SIGKILL, as a power cut would, and starts it again.
    pub async fn crash_and_recover(&mut self) -> Result<()> {
        self.process.kill()?;
        self.start_again().await
    }

    /// Kills the server with SIGKILL.
    pub fn crash(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts the server on the data that it left.
    pub async fn start_again(&mut self) -> Result<()> {
        // The dead server's backends still hold its shared memory until they notice; a server that
        // starts too early says so and ends.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            self.process = spawn(&self.binaries, &self.data, self.server.port, &self.log)?;
            match self.wait_until_ready().await {
                Ok(()) => return Ok(()),
                Err(error) if std::time::Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Stops the server and removes its data.
    pub fn remove(mut self) -> Result<()> {
        self.process.stop(STOP_PATIENCE)?;
        fs::remove_dir_all(&self.data)?;
        fs::remove_file(&self.log)?;
        Ok(())
    }

    /// The process, to be detached or stopped.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let url = self.admin_url("postgres");
        self.process
            .wait_until("ready", || async {
                PgConnection::connect(&url).await.ok()?.close().await.ok()
            })
            .await
    }
}

/// How long a server may take to end: it has a checkpoint to write.
pub const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed, it would leave its shared memory behind (`ipcs -m`).
        if !self.process.is_detached() {
            let _ = self.process.stop(STOP_PATIENCE);
        }
    }
}

/// Whether a server of this name has data.
pub fn has_data(name: &str) -> Result<bool> {
    Ok(home()?.join(name).exists())
}

/// Removes the data of a server that does not run.
pub fn remove_data(name: &str) -> Result<()> {
    let data = home()?.join(name);
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    Ok(())
}

/// Makes the data of a server: they are there whole, or not at all.
fn make_data(binaries: &Path, data: &Path, password: &str, log: &Path) -> Result<()> {
    let unfinished = data.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished)?;
    let password_file = data.with_extension("password");
    crate::secrets::write_private(&password_file, password)?;
    if nix::unistd::geteuid().is_root() {
        chown(&unfinished, Some(NOBODY), Some(NOBODY))?;
        chown(&password_file, Some(NOBODY), Some(NOBODY))?;
    }
    let mut command = unprivileged(&binaries.join("initdb"));
    command
        .arg("--pgdata")
        .arg(&unfinished)
        .arg("--pwfile")
        .arg(&password_file)
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
        ])
        .args(["--locale=C.UTF-8", "--no-sync"])
        .current_dir("/");
    let made = Process::run("initdb", command, log);
    fs::remove_file(&password_file)?;
    made?;
    fs::rename(&unfinished, data)?;
    Ok(())
}

fn spawn(binaries: &Path, data: &Path, port: u16, log: &Path) -> Result<Process> {
    let mut command = unprivileged(&binaries.join("postgres"));
    command
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string()])
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ])
        .args(["-c", "max_connections=200"])
        // Durable, whatever initdb's defaults: "acknowledged" means committed, in tests as well.
        .args(["-c", "fsync=on", "-c", "synchronous_commit=on"])
        .current_dir("/");
    Process::start("PostgreSQL", command, log)
}

/// A command that PostgreSQL's programs consent to: not as root.
fn unprivileged(program: &Path) -> Command {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        let nobody = NOBODY.to_string();
        command
            .args([
                "--reuid",
                &nobody,
                "--regid",
                &nobody,
                "--clear-groups",
                "--",
            ])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// The folder of the servers' data. Where we are root it lies outside of the checkout, which may be
/// in a home that PostgreSQL's user cannot enter.
fn home() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        let home = PathBuf::from(format!("/var/tmp/smp-global-{}", checkout::fingerprint()));
        fs::create_dir_all(&home)?;
        Ok(home)
    } else {
        checkout::run_dir("postgres")
    }
}

/// The folder of initdb and postgres.
fn binaries() -> Result<PathBuf> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", _) => "darwin-x64",
        (_, "aarch64") => "linux-arm64",
        _ => "linux-x64",
    };
    let native = checkout::node_module(&format!("@embedded-postgres/{platform}/native"))?;
    if !nix::unistd::geteuid().is_root() {
        return Ok(native.join("bin"));
    }
    let package = fs::read(native.with_file_name("package.json"))?;
    let copy = home()?.join("native");
    let stamp = copy.join("package.json");
    if fs::read(&stamp).ok().as_ref() != Some(&package) {
        // Copied under another name and moved into place whole: two tests may start at once.
        let fresh = home()?.join(format!("native.{}", std::process::id()));
        let status = Command::new("cp")
            .arg("-a")
            .arg(&native)
            .arg(&fresh)
            .status()?;
        ensure!(
            status.success(),
            "cannot copy PostgreSQL to {}",
            fresh.display()
        );
        fs::write(fresh.join("package.json"), &package)?;
        let _ = fs::remove_dir_all(&copy);
        // Whoever came first has put the same there.
        if fs::rename(&fresh, &copy).is_err() {
            fs::remove_dir_all(&fresh)?;
        }
    }
    Ok(copy.join("bin"))
}
