//! Package `cli`, tests: a network of a scenario's own: a namespace whose loopback can be pulled. The control sockets of its
//! systems are files, so they can be talked to all the same. Must not know scenarios.

use std::process::{Child, Command, Stdio};

/// A network namespace; it ends with this.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Child,
}

impl Network {
    /// Makes one, its loopback up. Nothing where this machine allows none.
    pub(crate) fn new() -> Option<Self> {
        // A user namespace of its own makes it possible without privileges. `cat` lives as long as its input.
        let holder = Command::new("unshare")
            .args(["--map-root-user", "--net", "cat"])
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

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--preserve-credentials", "--user", "--net", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Pulls the network, or puts it back.
    pub(crate) fn loopback(&self, state: &str) -> bool {
        self.command("ip")
            .args(["link", "set", "lo", state])
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
