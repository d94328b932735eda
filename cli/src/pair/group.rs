//! Package `cli`, two systems: as a recovery group: BKP takes over from PRD, PRD comes home and gets its role back, each with what
//! it took. Must not know what work is done, or why a system is lost.

use rjournal::daemon::command::group::{SwitchPrimary, Switched};
use rjournal::entry::Sequence;
use tokio::time::Instant;

use super::{FORWARD, Pair, SystemProcess, qualified, until};
use crate::error::CliError;

/// The group.
const GROUP: &str = "BANK";
/// The reverse journal's copy on PRD.
const REVERSE_COPY: &str = "PRDLIB/BKP";

/// How often a switch is ordered.
const SWITCH_TRIES: u32 = 3;
/// How many entries a store may be behind for a switch, as the command has it.
const BEHIND_MAX: u64 = 10_000;

/// What a takeover did.
#[derive(Debug, Clone)]
pub(crate) struct TookOver {
    /// When the command was given.
    pub(crate) asked_at: Instant,
    /// From then until the command said that deposits are taken, in milliseconds.
    pub(crate) took_ms: u64,
    /// The term.
    pub(crate) term: u64,
    /// The last entry of PRD that counts.
    pub(crate) last: u64,
}

/// What it took until the old primary followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CameHome {
    /// From its start, in milliseconds.
    pub(crate) took_ms: u64,
    /// Bytes of bundles that were brought to it: what it lacked of its own journal, and what was written without it.
    pub(crate) bytes: u64,
}

/// What a switch did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwitchedBack {
    /// When the command was given.
    pub(crate) asked_at: Instant,
    /// How long the systems took no deposits, as the command says, in milliseconds.
    pub(crate) pause_ms: u64,
    /// The term.
    pub(crate) term: u64,
}

/// What PRD holds, in bytes, for knowing what is brought to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Of its own journal.
    forward: u64,
    /// Of the copy of BKP's journal.
    reverse: u64,
    /// How many archives of orphans.
    archives: u64,
}

impl Pair {
    /// Makes them a recovery group: a journal on PRD, and everything the way there and back needs.
    pub(crate) async fn form_group(&mut self) -> Result<(), CliError> {
        self.introduce().await?;
        self.voice
            .title("A journal on PRD, and a recovery group: BKP stands in for it, *SYNC");
        self.journal().await?;
        let group = ["crtcrg", "--crg", GROUP, "--jrn", FORWARD];
        let backup = ["--backup", "BKP/BKPLIB"];
        self.source
            .run(&[group.as_slice(), &backup].concat())
            .await?;
        self.grouped = true;
        Ok(())
    }

    /// Kills PRD, which stays away. Gives when it was dead.
    pub(crate) async fn lose_source(&mut self) -> Result<Instant, CliError> {
        // BKP's journal rests: PRD gets nothing more of it before it dies.
        self.lost_with = self.held().await?;
        self.kills += self.source.kill().await?;
        Ok(Instant::now())
    }

    /// Cuts BKP off: it runs, and hears nothing and says nothing.
    pub(crate) fn cut_off_target(&self) {
        self.target.freeze();
    }

    /// Lets BKP hear again.
    pub(crate) fn reach_target(&self) {
        self.target.thaw();
    }

    /// BKP takes over.
    pub(crate) async fn take_over(&self) -> Result<TookOver, CliError> {
        let asked_at = Instant::now();
        let said = self
            .target
            .run(&["takeover", "--crg", GROUP, "--accept-loss"])
            .await?;
        let number = |name: &str| said.get(name).and_then(serde_json::Value::as_u64);
        Ok(TookOver {
            asked_at,
            took_ms: millis(asked_at),
            term: number("term").unwrap_or_default(),
            last: number("last").unwrap_or_default(),
        })
    }

    /// PRD is started, and finds out by itself that it is not the primary any more; waits until it follows.
    pub(crate) async fn bring_source_home(&mut self) -> Result<CameHome, CliError> {
        let began = Instant::now();
        self.voice.command(self.source.name, &["daemon"]);
        self.source.start().await?;
        // As it was on the disk: what it has to give up it has not given up yet, or it is in an archive.
        let first = self.held().await?;
        self.follows(&self.target, "PRD").await?;
        // It is in the set before it has everything: it belongs there when it holds what was written until then.
        let written = self.target.journal().await?.watermarks.sealed;
        let copy = qualified(REVERSE_COPY);
        until("PRD has what was written without it", async || {
            Ok(self.source.journal_named(copy).await?.watermarks.written >= written)
        })
        .await?;
        let took_ms = millis(began);
        let after = self.held().await?;
        let (lost, gave_up) = (self.lost_with, first.archives < after.archives);
        let given_up = if gave_up {
            self.archived_from(lost.archives).await?
        } else {
            0
        };
        let forward = (after.forward + given_up).saturating_sub(first.forward);
        Ok(CameHome {
            took_ms,
            bytes: forward + after.reverse.saturating_sub(lost.reverse),
        })
    }

    async fn held(&self) -> Result<Held, CliError> {
        let mut held = Held::default();
        for journal in self.source.journals().await? {
            let bytes = journal.receivers.iter().map(|receiver| receiver.bytes);
            if journal.journal == qualified(FORWARD) {
                held.forward = bytes.sum();
                held.archives = journal.orphans;
            } else if journal.journal == qualified(REVERSE_COPY) {
                held.reverse = bytes.sum();
            }
        }
        Ok(held)
    }

    /// Bytes in the archives behind the first so many.
    async fn archived_from(&self, known: u64) -> Result<u64, CliError> {
        let listed = self.source.run_unseen(&["orphans", "list"]).await?;
        let archives = listed.get("archives").and_then(|all| all.as_array());
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let fresh = archives.into_iter().flatten().skip(known);
        let bytes = |archive: &serde_json::Value| archive.get("bytes")?.as_u64();
        Ok(fresh.filter_map(bytes).sum())
    }

    /// PRD gets its role back, when it is ready for it. On a busy machine the command may have to be given again, as it says.
    pub(crate) async fn switch_back(&self) -> Result<SwitchedBack, CliError> {
        for tries in 1.. {
            until("PRD can be primary again", async || {
                Ok(self.may_switch().await.unwrap_or(false))
            })
            .await?;
            let asked_at = Instant::now();
            let switch = ["switch", "--crg", GROUP, "--to", "PRD"];
            match self.target.run(&switch).await {
                Ok(said) => {
                    let number = |name: &str| said.get(name).and_then(serde_json::Value::as_u64);
                    return Ok(SwitchedBack {
                        asked_at,
                        pause_ms: number("switch_pause_ms").unwrap_or_default(),
                        term: number("term").unwrap_or_default(),
                    });
                }
                Err(error) if tries == SWITCH_TRIES => return Err(error),
                Err(error) => self.voice.event(&format!("{}: once more", error.0.text)),
            }
        }
        Err(CliError::internal(&"no switch"))
    }

    /// Whether BKP says that PRD is ready to be primary.
    async fn may_switch(&self) -> Result<bool, CliError> {
        let plan = SwitchPrimary {
            group: None,
            to: None,
            plan: true,
            abort: false,
            drain_ms: 0,
            behind_max: BEHIND_MAX,
        };
        let planned = self.target.client().await?.run(plan).await?;
        Ok(matches!(planned, Switched::To(plan) if plan.against.is_empty()))
    }

    /// Waits until the store of a system has come through all terms, and has applied an entry of the last one.
    pub(super) async fn in_last_term(
        &self,
        system: &SystemProcess,
        last: Sequence,
    ) -> Result<(), CliError> {
        until(
            &format!("the store of {} is level", system.name),
            async || {
                let mut members = system.group().await?.members.into_iter();
                let here = members.find(|member| member.is_here);
                Ok(here.and_then(|here| here.applied) >= Some(last))
            },
        )
        .await
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
