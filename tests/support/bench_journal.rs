//! Package `tests`: a local journal on a disk in memory, driven by hand.

use std::path::Path;
use std::sync::Arc;

use rjournal::disk::{CrashedDisk, Disk, MemoryDisk};
use rjournal::entry::control_entry::OpenReason;
use rjournal::entry::{Draft, Kind, QualifiedName, Sequence, SystemId, SystemName, Timestamp};
use rjournal::error::JournalError;
use rjournal::journal::AckClass;
use rjournal::journal::{
    Attributes, Entropy, Gate, Journal, NewJournal, Owner, Recovered, Release, Ticket, Writer,
};
use rjournal::receiver::Space;

use crate::seed::SeededEntropy;

/// Directory of the journal on its disk.
pub const DIR: &str = "journals/1";

/// The system that owns the journal.
pub fn owner() -> Owner {
    Owner {
        system: SystemId::from_bytes([9; 16]),
        name: SystemName::new("PRD").expect("a name"),
    }
}

/// A qualified name.
pub fn name(text: &str) -> QualifiedName {
    text.parse().expect("a qualified name")
}

/// Time number `n`.
pub const fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + n)
}

/// A journal that is open for deposits, answered LOCAL as soon as it is written.
#[derive(Debug)]
pub struct BenchJournal {
    /// The shared part.
    pub journal: Arc<Journal>,
    /// The writer.
    pub writer: Writer,
}

impl BenchJournal {
    /// Makes a new one.
    ///
    /// # Errors
    /// As the disk says.
    pub fn create(
        disk: &MemoryDisk,
        attributes: Attributes,
        seed: u64,
    ) -> Result<Self, JournalError> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let entropy = SeededEntropy::new(seed);
        // A disk that dies here is found out by the next call.
        drop(
            shared
                .create_dir(Path::new("journals"))
                .and_then(|()| shared.sync_dir(Path::new(""))),
        );
        let recovered = Recovered::create(
            shared,
            Path::new(DIR),
            owner(),
            NewJournal {
                name: name("PRDLIB/JRN"),
                first_receiver: name("PRDLIB/RCV0001"),
                attributes,
            },
            &entropy,
            at(0),
        )?;
        Self::open(recovered, OpenReason::Created, seed)
    }

    /// Opens what is on a disk.
    ///
    /// # Errors
    /// As recovery says.
    pub fn reopen(disk: &MemoryDisk, seed: u64) -> Result<Self, JournalError> {
        Self::open(recover(disk)?, OpenReason::Restarted, seed)
    }

    fn open(recovered: Recovered, reason: OpenReason, seed: u64) -> Result<Self, JournalError> {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed ^ 0xabcd));
        let (journal, writer) = recovered.open_for_deposits(reason, (0, 0), entropy, at(1))?;
        journal.set_gate(Gate::Open);
        Ok(Self { journal, writer })
    }

    /// Deposits a user entry.
    pub fn deposit(&self, payload: &[u8]) -> Ticket {
        self.journal
            .deposit(&Draft::new(Kind::USER, payload), at(2))
            .expect("an open journal")
    }

    /// Makes the next receiver ready, as a second thread would.
    pub fn writer_spare(&self) {
        let (spare, bytes) = self.writer.spare();
        drop(spare.prepare(bytes, Space::Zeroed));
    }

    /// Seals, writes and releases everything deposited.
    ///
    /// # Errors
    /// As the disk says.
    pub fn step(&mut self) -> Result<Sequence, JournalError> {
        let written = self.writer.step(at(3))?.sequence;
        self.journal.release(Release {
            upto: written,
            class: AckClass::Local,
            set: Sequence::NONE,
        });
        Ok(written)
    }
}

/// Recovers the journal on a disk.
///
/// # Errors
/// As recovery says.
pub fn recover(disk: &MemoryDisk) -> Result<Recovered, JournalError> {
    Recovered::open(Arc::new(disk.clone()), Path::new(DIR), owner())
}

/// All payloads of user entries, in order, with their numbers.
pub fn user_entries(recovered: &Recovered) -> Vec<(u64, Vec<u8>)> {
    let reader = recovered.reader();
    let (mut after, tip) = (reader.oldest().sequence, reader.tip().sequence);
    let mut found = Vec::new();
    while after < tip {
        let bundles = reader
            .bundles_after(after, tip, 1 << 20)
            .expect("a readable journal");
        for bundle in &bundles {
            for view in bundle.entries() {
                let view = view.expect("a readable entry");
                if view.kind == Kind::USER {
                    found.push((view.sequence.get(), view.payload.bytes().to_vec()));
                }
            }
        }
        after = bundles.last().expect("bundles up to the tip").header.last();
    }
    found
}

/// A disk as it comes back after power was lost.
pub fn after_crash(disk: &MemoryDisk, seed: u64) -> (MemoryDisk, CrashedDisk) {
    let crashed = disk.crash(seed);
    (crashed.power_on(), crashed)
}
