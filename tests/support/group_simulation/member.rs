//! Package `tests`, groups under seeds: one member: its disk, and what runs on it: its standing, one journal that is its own and
//! copies of the others'. Started from what is on the disk, as the daemon starts. Must not know what it says to others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use rjournal::daemon::crank::{LinkCrank, OpeningCrank, Source, TargetCrank};
use rjournal::disk::{CrashedDisk, Disk, MemoryDisk};
use rjournal::entry::{JournalId, Moment, Position, Sequence, SystemId, SystemName};
use rjournal::journal::{Copy, Owner, Recovered};
use rjournal::remote::{GroupNews, MemberKey, MemberRole, SourceSession};

use super::goals::{Goal, Step};
use super::local::OpenSide;
use super::standing_file::StandingFile;
use super::task::Lock;
use super::world::{Here, World};
use super::wrong::Wrong;
use crate::seed::SeededEntropy;

/// A journal at rest: a copy of another member's, or the own one.
pub(super) struct CopySide {
    pub(super) copy: Copy,
    /// The connection and the session that feeds it.
    pub(super) session: Option<(u64, Box<TargetCrank>)>,
    /// What went wrong, once something did.
    pub(super) failed: Option<String>,
    /// It was stopped: it is on its way to be opened.
    pub(super) stopped: bool,
}

/// What one journal of the group is here.
pub(super) enum Side {
    /// Open for deposits, or being handed over.
    Open(Box<OpenSide>),
    /// It asks before it opens.
    Opening(Box<OpeningCrank>),
    /// At rest.
    Copy(Box<CopySide>),
    /// It cannot be used.
    Broken(String),
}

impl Side {
    pub(super) fn copy(copy: Copy) -> Self {
        Self::Copy(Box::new(CopySide {
            copy,
            session: None,
            failed: None,
            stopped: false,
        }))
    }

    /// As a source for others.
    pub(super) fn source(&self) -> Option<Source> {
        match self {
            Self::Open(open) => Some(Source::Local(Arc::clone(&open.journal))),
            Self::Copy(side) => Some(Source::Copy(Arc::clone(side.copy.shared()))),
            Self::Opening(_) | Self::Broken(_) => None,
        }
    }
}

/// A session in which this member feeds one that asked.
pub(super) struct FeedSide {
    pub(super) source: Source,
    pub(super) session: SourceSession,
    pub(super) upto: Sequence,
}

/// What another member said last.
#[derive(Default)]
pub(super) struct HeardFrom {
    pub(super) news: Option<GroupNews>,
    pub(super) since: Option<Moment>,
    pub(super) failed: bool,
}

/// What runs.
pub(super) struct Up {
    pub(super) standing: StandingFile,
    /// By the member that writes them.
    pub(super) sides: Vec<Side>,
    /// Links of the own journal while it is open.
    pub(super) links: Vec<LinkCrank>,
    pub(super) feeds: BTreeMap<u64, FeedSide>,
    pub(super) heard: BTreeMap<SystemId, HeardFrom>,
    pub(super) turn: Lock,
    pub(super) seat: Lock,
    pub(super) woken: bool,
    pub(super) told: Option<u64>,
    pub(super) followed: BTreeMap<SystemId, u64>,
    pub(super) asking: BTreeSet<usize>,
    /// When the opening last asked a member.
    pub(super) asked: BTreeMap<MemberKey, Moment>,
    pub(super) entropy: Arc<SeededEntropy>,
    /// What it is in the middle of.
    pub(super) step: Option<Step>,
    /// Whom it followed last.
    pub(super) parent: Option<SystemId>,
}

/// One member.
pub(super) struct Member {
    pub(super) system: SystemId,
    pub(super) name: SystemName,
    pub(super) disk: MemoryDisk,
    /// Grows with every start and every death.
    pub(super) life: u64,
    pub(super) up: Option<Up>,
    /// Its disk may refuse right now.
    pub(super) hurt: bool,
    /// Its disk as it was at some moment.
    pub(super) snapshot: Option<CrashedDisk>,
}

impl Member {
    /// Who owns the journal written here.
    pub(super) const fn owner(&self) -> Owner {
        Owner {
            system: self.system,
            name: self.name,
        }
    }

    pub(super) fn shared_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }
}

/// Directory of the journal that a member writes, on every disk.
pub(super) fn dir_of(writer: usize) -> PathBuf {
    PathBuf::from(format!("journals/{writer}"))
}

impl World {
    /// Starts a member that is down.
    pub(super) fn start(self: &Rc<Self>, me: usize) -> Result<(), String> {
        let (owner, disk) = {
            let mut member = self.members[me].borrow_mut();
            member.life += 1;
            (member.owner(), member.shared_disk())
        };
        let mut standing = StandingFile::open(&disk)?;
        let mut sides = Vec::new();
        for (writer, of) in self.group.members.iter().enumerate() {
            let dir = dir_of(writer);
            let side = if writer == me {
                let recovered = Recovered::open(Arc::clone(&disk), &dir, owner);
                let recovered = recovered.map_err(|error| error.to_string())?;
                self.as_member(me, &disk, &mut standing, recovered, of.journal)?
            } else {
                let copy = Copy::open(Arc::clone(&disk), &dir, Sequence::NONE);
                Side::copy(copy.map_err(|error| error.to_string())?)
            };
            sides.push(side);
        }
        let up = Up {
            standing,
            sides,
            links: Vec::new(),
            feeds: BTreeMap::new(),
            heard: BTreeMap::new(),
            turn: Lock::default(),
            seat: Lock::default(),
            woken: false,
            told: None,
            followed: BTreeMap::new(),
            asking: BTreeSet::new(),
            asked: BTreeMap::new(),
            entropy: Arc::new(SeededEntropy::new(self.draw())),
            step: None,
            parent: None,
        };
        self.members[me].borrow_mut().up = Some(up);
        self.born(me);
        self.returned(me);
        self.look_at_standing(me);
        self.say(me, || format!("starts as {}", self.here(me).stands()));
        let here = Here {
            world: Rc::clone(self),
            me,
        };
        // Before anybody is let in.
        if self.wrong != Some(Wrong::FencedLate) {
            here.fence();
        }
        here.spawn("group", here.clone().run_group());
        self.pump(me);
        Ok(())
    }

    /// The own journal opens only while this member is primary, and then in contact with another; else it rests.
    fn as_member(
        &self,
        me: usize,
        disk: &Arc<dyn Disk>,
        standing: &mut StandingFile,
        recovered: Recovered,
        journal: JournalId,
    ) -> Result<Side, String> {
        let system = self.group.members[me].system;
        let before = standing.get().lineage.term();
        catch_up_standing(system, standing, &recovered)?;
        if standing.get().lineage.term() > before {
            self.counts.borrow_mut().caught_up += 1;
            self.reach(Goal::TermFound);
            self.say(me, || "finds a term in its journal".to_owned());
            self.opened_term(me, &standing.get().lineage);
        }
        if standing.get().role(system) == MemberRole::Primary {
            let crank = OpeningCrank::new(recovered);
            let alone = self.wrong == Some(Wrong::OpensWithoutContact);
            let crank = if alone { crank } else { crank.in_group() };
            return Ok(Side::Opening(Box::new(crank)));
        }
        drop(recovered);
        let closed = standing.get().confirmed_end(journal);
        let copy = Copy::open_own(Arc::clone(disk), &dir_of(me), closed);
        copy.map(Side::copy).map_err(|error| error.to_string())
    }

    /// Whether an old primary comes back while another takes over.
    fn returned(&self, me: usize) {
        let was = {
            let member = self.members[me].borrow();
            let newest = member
                .up
                .as_ref()
                .and_then(|up| up.standing.get().lineage.newest().copied());
            newest.is_some_and(|newest| newest.primary == member.system)
        };
        let mut others = (0..self.members.len()).filter(|other| *other != me);
        let takes_over = |other| self.step_of(other).is_some_and(Step::is_takeover);
        if was && others.any(takes_over) {
            self.reach(Goal::PrimaryReturned);
        }
    }

    /// The process of a member ends. With power lost, what it did not sync may be gone.
    pub(super) fn crash(&self, me: usize, power: bool) {
        let seed = self.draw();
        if let Some(step) = self.step_of(me) {
            self.reach(step.crashed());
        }
        {
            let mut ledger = self.ledger.borrow_mut();
            let mut member = self.members[me].borrow_mut();
            if !member.disk.is_dead() {
                ledger.look(self);
            }
            ledger.handle_death(me);
            member.life += 1;
            member.up = None;
            if power || member.disk.is_dead() {
                let crashed = member.disk.crash(seed);
                member.disk = crashed.power_on();
                member.hurt = false;
            }
        }
        self.say(me, || format!("dies, power {power}"));
        self.tasks.drop_of(me);
        self.line.borrow_mut().handle_death(me);
    }
}

/// A term may have been opened, or the role handed over, right before a crash: the entry is flushed, and the standing does not
/// know it yet. As the daemon does.
fn catch_up_standing(
    me: SystemId,
    standing: &mut StandingFile,
    recovered: &Recovered,
) -> Result<(), String> {
    let record = recovered.term().copied();
    let handed = recovered.handed_over();
    standing.update(|at| {
        if let Some(record) = record {
            at.handle_found_term(me, record);
        }
        if let Some((entry, handed)) = handed
            && at.handed_over.is_none()
            && handed.term == at.lineage.term()
            && at.role(me) == MemberRole::Primary
        {
            let head = recovered.reader().head_at(entry).ok().flatten();
            at.handed_over = head.map(|head| {
                (
                    handed,
                    Position {
                        sequence: entry,
                        head,
                    },
                )
            });
        }
    })
}
