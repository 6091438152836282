//! What the race needs from the system.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::up::say;

/// What the race needs from the system.
pub(super) struct Tools {
    pub(super) nginx_has_lua: bool,
}

impl Tools {
    /// Looks for wrk and nginx; installs them where we may.
    pub(super) fn find() -> Result<Self> {
        let there = |program: &str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let lua = Path::new("/usr/lib/nginx/modules/ngx_http_lua_module.so");
        let complete = || there("wrk") && there("nginx") && lua.exists();
        if !complete() && there("apt-get") && nix::unistd::geteuid().is_root() {
            say("edge: installing wrk and nginx with Lua from Debian");
            let script = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
                          --no-install-recommends wrk nginx libnginx-mod-http-lua";
            let output = Command::new("sh").args(["-c", script]).output()?;
            ensure!(
                output.status.success(),
                "apt-get: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        for program in ["wrk", "nginx"] {
            ensure!(
                there(program),
                "the edge's benchmark needs {program}: install it and run again"
            );
        }
        Ok(Self {
            nginx_has_lua: lua.exists(),
        })
    }
}
