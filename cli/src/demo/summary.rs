//! Package `cli`, the demonstration: its result, as `--json` prints it, and whether it holds. Must not know how it came about.

use std::path::PathBuf;

use serde::Serialize;

use super::Ledger;
use super::chapters::Absence;
use super::proof::Proofs;

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// What was done: `bank` or `import`.
    pub(super) workload: &'static str,
    /// Transactions that landed.
    pub(super) transactions: u64,
    /// Entries in the journal.
    pub(super) entries: u64,
    /// Transactions answered SYNC.
    pub(super) sync_answers: u64,
    /// Those of them that are not in the replica.
    pub(super) lost_sync_answers: u64,
    /// Transactions answered LOCAL: while the target was away.
    pub(super) local_answers: u64,
    /// Transactions whose answer was lost with a killed process; each was tried again, and landed once.
    pub(super) answers_lost_and_found: u64,
    /// Rows in all files of the replica.
    pub(super) rows: u64,
    /// From the command of a takeover until deposits were taken, in milliseconds: the longest. Nothing where nobody took over.
    pub(super) takeover_ms: Option<u64>,
    /// How long no client was answered around a switch back, in milliseconds: the longest.
    pub(super) switch_pause_ms: Option<u64>,
    /// Bytes brought to the old primary until it was in sync, of all its rejoins.
    pub(super) rejoin_bytes: Option<u64>,
    /// Committed transactions the old primary had alone, which were set aside.
    pub(super) orphans: u64,
    /// Those of them that had been answered, and are not in the history: LOCAL, none of them SYNC.
    pub(super) orphans_answered: u64,
    /// Those of them that were tried again by their clients, and landed once.
    pub(super) orphans_landed: u64,
    /// Transfers behind `orphans_answered`, by client and number.
    pub(super) orphans_named: Vec<String>,
    /// Whether the first primary got its role back each time.
    pub(super) switched_back: Option<bool>,
    /// Each takeover.
    pub(super) takeovers: Vec<Absence>,
    /// Whether primary and replica are equal, row by row.
    pub(super) replica_equal: bool,
    /// Whether what the workload promises holds on both sides: sums for the bank, the input for CSV.
    pub(super) content_right: bool,
    /// Whether all receivers are the same bytes on both sides.
    pub(super) receivers_identical: bool,
    /// Processes killed with SIGKILL.
    pub(super) kills: u64,
    /// How long it took.
    pub(super) seconds: f64,
    /// Transactions a second, while both systems were there.
    pub(super) transactions_per_second: f64,
    /// Where the systems are, if they were kept.
    pub(super) kept: Option<PathBuf>,
}

impl Summary {
    pub(super) fn new(
        workload: &'static str,
        ledger: &Ledger,
        takeovers: Vec<Absence>,
        proofs: &Proofs,
        kills: u64,
    ) -> Self {
        let longest = |of: fn(&Absence) -> u64| takeovers.iter().map(of).max();
        let some = !takeovers.is_empty();
        Self {
            workload,
            transactions: ledger.sync + ledger.local + ledger.found,
            entries: proofs.entries,
            sync_answers: ledger.sync,
            lost_sync_answers: proofs.lost_sync_answers,
            local_answers: ledger.local,
            answers_lost_and_found: ledger.found,
            rows: proofs.rows,
            takeover_ms: longest(|taken| taken.takeover_ms),
            switch_pause_ms: longest(|taken| taken.switch_pause_ms),
            rejoin_bytes: some.then(|| takeovers.iter().map(|taken| taken.rejoin_bytes).sum()),
            orphans: takeovers.iter().map(|taken| taken.orphans).sum(),
            orphans_answered: proofs.orphans_answered,
            orphans_landed: proofs.orphans_landed,
            orphans_named: proofs.orphans_named.clone(),
            switched_back: some.then(|| takeovers.iter().all(|taken| taken.switched_back)),
            takeovers,
            replica_equal: proofs.replica_equal,
            content_right: proofs.content_right,
            receivers_identical: proofs.receivers_identical,
            kills,
            seconds: 0.0,
            transactions_per_second: ledger.rate.round(),
            kept: None,
        }
    }

    /// Whether all proofs hold.
    pub(crate) fn holds(&self) -> bool {
        self.lost_sync_answers == 0
            && self.replica_equal
            && self.content_right
            && self.receivers_identical
            && self.switched_back != Some(false)
            && self.transactions > 0
            && self.has_waited()
    }

    /// Whether answers waited for the target. The only transaction of a small import may fall into the time it was away.
    pub(super) fn has_waited(&self) -> bool {
        self.sync_answers > 0 || (self.workload == "import" && self.transactions == 1)
    }
}
