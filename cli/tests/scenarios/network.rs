//! Package `cli`, tests: a network of a scenario's own: a namespace whose loopback can be pulled and that has small disks.
//! Commands run inside it, too. Must not know scenarios.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A namespace for network and mounts; it ends with this.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Child,
}

impl Network {
    /// Makes one, its loopback up. Nothing where this machine allows none.
    pub(crate) fn new() -> Option<Self> {
        // A user namespace of its own makes it possible without privileges. `cat` lives as long as its input.
        let holder = Command::new("unshare")
            .args(["--map-root-user", "--net", "--mount", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut network = Self { holder };
        for _ in 0..200 {
            if network.holder.try_wait().ok()?.is_some() {
                return None;
            }
            if network.is_apart() {
                return network.loopback("up").then_some(network);
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        None
    }

    /// Whether the holder is in a namespace of its own already.
    fn is_apart(&self) -> bool {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let (holder, own) = (of(&self.holder.id().to_string()), of("self"));
        holder.is_some() && holder != own
    }

    /// A command that runs in it, in a directory.
    pub(crate) fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--preserve-credentials", "--user", "--net", "--mount"])
            .arg(format!("--target={}", self.holder.id()))
            .arg(format!("--wdns={}", dir.display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Pulls the network, or puts it back.
    pub(crate) fn loopback(&self, state: &str) -> bool {
        self.done("ip", &["link", "set", "lo", state])
    }

    /// Puts a disk of a size at a directory, or gives the one that is there another size.
    pub(crate) fn disk(&self, dir: &Path, size: &str) -> bool {
        let (at, size) = (dir.to_string_lossy(), format!("size={size}"));
        if self.done("mountpoint", &["-q", &at]) {
            self.done("mount", &["-o", &format!("remount,{size}"), &at])
        } else {
            self.done("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &at])
        }
    }

    fn done(&self, program: &str, arguments: &[&str]) -> bool {
        self.command(program, Path::new("/"))
            .args(arguments)
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
