//! Package `tests`: one system in the cluster: a disk in memory and what runs on it, driven by hand through the same
//! cranks the daemon turns.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rjournal::daemon::crank::{
    LinkCrank, OpeningCrank, OpeningState, Source, TargetCrank, begin_confirmation,
};
use rjournal::disk::{Disk, MemoryDisk};
use rjournal::entry::{Moment, SystemId, SystemName, Timestamp};
use rjournal::journal::{
    Batch, Copy, Entropy, Gate, Journal, JournalKind, Owner, Recovered, Writer,
};
use rjournal::remote::Confirmation;

use crate::bench_journal::DIR;
use crate::seed::SeededEntropy;

/// A local journal open for deposits.
#[derive(Debug)]
pub struct OpenSide {
    /// The shared part.
    pub journal: Arc<Journal>,
    /// The writer.
    pub writer: Writer,
    /// The in-sync set.
    pub confirmation: Mutex<Confirmation>,
    /// Sealed and not written.
    pub batch: Option<Batch>,
    /// A write or flush went wrong.
    pub failed: bool,
}

/// What a node does with its journal.
#[derive(Debug)]
pub enum Side {
    /// A local journal on its way.
    Opening(Box<OpeningCrank>),
    /// A local journal open for deposits.
    Open(Box<OpenSide>),
    /// A copy, with the session that feeds it.
    Copy {
        /// The copy.
        copy: Box<Copy>,
        /// The connection and the session.
        session: Option<(u64, Box<TargetCrank>)>,
        /// What went wrong, if something did.
        failed: Option<String>,
    },
    /// A local journal that stays closed.
    Refused(String),
}

/// What runs on a node.
#[derive(Debug)]
pub struct Running {
    /// The journal.
    pub side: Side,
    /// Links to further nodes.
    pub links: Vec<LinkCrank>,
}

/// One system.
#[derive(Debug)]
pub struct Node {
    /// Identity.
    pub system: SystemId,
    /// Name.
    pub name: SystemName,
    /// Its medium.
    pub disk: MemoryDisk,
    /// What runs, unless it is down.
    pub running: Option<Running>,
    /// Starts so far.
    pub starts: u64,
}

impl Node {
    /// A node that is down, with an empty disk.
    ///
    /// # Panics
    /// When the number makes no name.
    pub fn new(number: u8) -> Self {
        let name = SystemName::new(&format!("SYS{number}")).expect("a name");
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("journals"))
            .and_then(|()| disk.sync_dir(Path::new("")))
            .expect("a live disk");
        Self {
            system: SystemId::from_bytes([number + 1; 16]),
            name,
            disk,
            running: None,
            starts: 0,
        }
    }

    /// Who owns a local journal here.
    pub const fn owner(&self) -> Owner {
        Owner {
            system: self.system,
            name: self.name,
        }
    }

    /// The disk as the rooms see it.
    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    /// Starts whatever is on the disk.
    ///
    /// # Errors
    /// What recovery says.
    pub fn start(&mut self, seed: u64) -> Result<(), String> {
        self.starts += 1;
        let disk = self.shared_disk();
        let kind = rjournal::journal::ControlFile::open(Arc::clone(&disk), Path::new(DIR))
            .map_err(|error| error.to_string())?;
        let (side, source) = if kind.0.get().kind == JournalKind::Local {
            let recovered = Recovered::open(disk, Path::new(DIR), self.owner())
                .map_err(|error| error.to_string())?;
            (Side::Opening(Box::new(OpeningCrank::new(recovered))), None)
        } else {
            let copy = Copy::open(disk, Path::new(DIR), rjournal::entry::Sequence::NONE)
                .map_err(|error| error.to_string())?;
            let source = Source::Copy(Arc::clone(copy.shared()));
            (
                Side::Copy {
                    copy: Box::new(copy),
                    session: None,
                    failed: None,
                },
                Some(source),
            )
        };
        let links = source.map_or_else(Vec::new, |source| links_of(&source, seed));
        self.running = Some(Running { side, links });
        Ok(())
    }

    /// Opens the local journal if the opening says so; activates its links. Says whether it did.
    ///
    /// # Errors
    /// What the disk says.
    pub fn try_open(&mut self, seed: u64, wall: Timestamp, now: Moment) -> Result<bool, String> {
        let Some(Running { side, links }) = &mut self.running else {
            return Ok(false);
        };
        let Side::Opening(crank) = side else {
            return Ok(false);
        };
        match crank.state() {
            OpeningState::Ready {
                reason,
                rank_above,
                heard,
            } => {
                let Side::Opening(crank) = std::mem::replace(side, Side::Refused(String::new()))
                else {
                    return Ok(false);
                };
                let (recovered, _) = crank.finish(now);
                let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
                let (journal, writer) = recovered
                    .open_for_deposits(reason, rank_above, entropy, wall)
                    .map_err(|error| error.to_string())?;
                let confirmation = begin_confirmation(&journal, &heard, wall, now);
                journal.set_gate(Gate::Open);
                let source = Source::Local(Arc::clone(&journal));
                *links = links_of(&source, seed);
                let confirmation = Mutex::new(confirmation);
                for link in links.iter_mut() {
                    let begun = link.begin(Some(&confirmation), wall, now);
                    begun.map_err(|error| error.to_string())?;
                }
                let open = OpenSide {
                    journal,
                    writer,
                    confirmation,
                    batch: None,
                    failed: false,
                };
                *side = Side::Open(Box::new(open));
                Ok(true)
            }
            // One that is refused stays on its way: an operator may decide.
            OpeningState::Waiting(_) | OpeningState::Adopting | OpeningState::Refused { .. } => {
                Ok(false)
            }
        }
    }
}

fn links_of(source: &Source, seed: u64) -> Vec<LinkCrank> {
    let links = source.control().links;
    let jitter = |index: usize| seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let made = |(index, record)| LinkCrank::new(record, source.clone(), jitter(index));
    links.into_iter().enumerate().map(made).collect()
}
