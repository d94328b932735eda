//! Room `journal`: a journal whose control file is lost in both slots gets another one, made from what its receivers say
//! and from what an operator says (failures.md MET-2 to MET-4). Nothing is guessed: the role is told, and refused where the
//! receivers say otherwise; epoch and promise are the highest in history; the in-sync set is the one history named last,
//! so that a local journal asks its members before it opens. Where that set cannot be known the journal stays closed, and
//! a copy is not fed, until an operator says so. [`decide`] has no IO. Must not know who asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::control::{
    Attributes, Checkpoint, Control, ControlFile, DeliveryMode, JournalKind, LinkRecord,
    SourceRecord,
};
use super::local::{Facts, Owner, RECEIVERS_DIR};
use super::mark::MarkFile;
use super::orphan;
use crate::disk::Disk;
use crate::entry::control_entry::{Member, Policy, SetChange, SetReason};
use crate::entry::{
    Epoch, JournalId, Kind, QualifiedName, RdbName, ReceiverHeader, SealedBundle, Sequence,
    SystemId, SystemName, Timestamp,
};
use crate::error::{JournalError, RebuildError, ReceiverError};
use crate::receiver::{
    Ending, Evidence, Expected, Met, ReceiverRecord, expected_by_headers, headers, trace,
};

/// What a journal is here, in an operator's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Filled by deposits here.
    Local,
    /// Filled by replication from elsewhere.
    Remote,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What the journal is here.
    pub role: Role,
    /// What it is called here; nothing where only its receivers can say.
    pub name: Option<QualifiedName>,
    /// Who feeds it, where an operator named somebody.
    pub fed_by: Option<(SystemId, RdbName)>,
    /// This system.
    pub owner: Owner,
}

/// What is left of a journal: everything its receivers say.
#[derive(Debug)]
pub struct History {
    /// The header of the attached receiver.
    header: ReceiverHeader,
    /// Whether its first entry is here: what came before was deleted, or is lost.
    whole: bool,
    first: Sequence,
    tip: Sequence,
    facts: Facts,
    /// What was true where the attached receiver begins.
    checkpoint: Checkpoint,
    /// Every target an in-sync set ever named, with what was said of it last.
    targets: BTreeMap<(SystemId, QualifiedName), Member>,
    /// The policy block or reject that may be in force still, for all that is said of a looser one.
    guard: Option<Policy>,
    /// A receiver that contradicts the ones before it.
    contradiction: Option<QualifiedName>,
    began_at: Option<Timestamp>,
}

impl History {
    /// What the oldest receiver says.
    pub fn new(oldest: &ReceiverHeader) -> Self {
        Self {
            header: oldest.clone(),
            whole: oldest.before.sequence == Sequence::NONE,
            first: oldest.first(),
            tip: oldest.before.sequence,
            facts: Facts::default(),
            checkpoint: Checkpoint::default(),
            targets: BTreeMap::new(),
            guard: None,
            contradiction: None,
            began_at: None,
        }
    }

    /// The next receiver begins.
    pub fn handle_receiver(&mut self, header: &ReceiverHeader) {
        let same = (header.origin, header.journal_name, header.origin_name)
            == (
                self.header.origin,
                self.header.journal_name,
                self.header.origin_name,
            );
        if !same {
            self.contradiction.get_or_insert(header.name);
        }
        self.header = header.clone();
        self.checkpoint = Checkpoint {
            set: self.facts.set.clone(),
            last_keyed: self.facts.last_keyed,
            opened: self.facts.opened,
        };
    }

    /// Its next bundle.
    pub fn handle_bundle(&mut self, bundle: &SealedBundle) {
        self.began_at.get_or_insert(bundle.last_time());
        self.tip = bundle.last().sequence;
        self.facts.read(bundle);
        let changes = bundle
            .entries()
            .flatten()
            .filter(|view| view.kind == Kind::IN_SYNC_SET);
        // What cannot be read, the facts report.
        for change in changes.filter_map(|view| SetChange::decode(view.payload.bytes()).ok()) {
            self.guard = guard(self.guard, &change);
            for member in change.left.into_iter().chain(change.members) {
                let key = (member.system, member.journal);
                let before = self.targets.get(&key).map(|kept| kept.acknowledged);
                let acknowledged = before.unwrap_or(Sequence::NONE).max(member.acknowledged);
                self.targets.insert(
                    key,
                    Member {
                        acknowledged,
                        ..member
                    },
                );
            }
        }
    }

    /// The journal's name on the system that sealed it, and that system.
    pub const fn origin(&self) -> (QualifiedName, SystemId, SystemName) {
        let header = &self.header;
        (header.journal_name, header.origin, header.origin_name)
    }

    /// Whether the in-sync set in force is known: an entry here set it, or there never was one.
    const fn knows_set(&self) -> bool {
        self.whole || self.facts.set.is_some()
    }

    /// What an in-sync set said of this system: what the copy here was called.
    fn copy_at(&self, system: SystemId) -> Option<QualifiedName> {
        let mut targets = self.targets.values().filter(|at| at.system == system);
        let one = targets.next()?.journal;
        // Two copies of one journal on one system: which this is, nobody says.
        targets.next().is_none().then_some(one)
    }

    /// Whether a copy of this name is in the in-sync set in force.
    fn is_in_set(&self, name: QualifiedName) -> bool {
        let set = self.facts.set.as_ref();
        set.is_some_and(|(_, set)| set.members.iter().any(|member| member.journal == name))
    }
}

/// A control file made again.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// It.
    pub control: Control,
    /// The members of the in-sync set that are asked before a local journal opens; nothing where they cannot be known.
    pub members: Option<Vec<Member>>,
    /// What an operator must look at again, as nothing here says what it was.
    pub look_again: Vec<String>,
}

const CLOSED: &str = "its control file was made again from its receivers, and its in-sync set was set before the oldest of them: \
                      whether a target holds more cannot be known here. WRKJRNA on every system with a copy shows its last \
                      entry; CHGJRN OPEN(*ALONE) opens it";
const NOT_FED: &str = "its control file was made again from its receivers; CHGJRN JRNSTATE(*ACTIVE) lets it be fed again";

/// Makes a control file from what the receivers and the operator say, or says what contradicts it.
///
/// # Errors
/// [`RebuildError`], and [`JournalError::Entry`] for an entry of the journal's own that cannot be read.
pub fn decide(
    history: &mut History,
    records: Vec<ReceiverRecord>,
    orphans: u64,
    order: &Order,
) -> Result<Rebuilt, JournalError> {
    if let Some(receiver) = history.contradiction {
        return Err(RebuildError::Contradiction { receiver }.into());
    }
    if let Some(error) = history.facts.damage.take() {
        return Err(error);
    }
    require_role(order.role, &history.header, order.owner.system)?;
    let journal = history.header.journal_name;
    let (kind, name) = match order.role {
        Role::Local if order.name.is_some_and(|name| name != journal) => {
            return Err(RebuildError::OtherName { found: journal }.into());
        }
        Role::Local => (JournalKind::Local, journal),
        Role::Remote => {
            let known = history.copy_at(order.owner.system);
            let name = order.name.or(known).ok_or(RebuildError::NoName)?;
            if let Some(found) = known.filter(|found| *found != name && history.is_in_set(*found)) {
                return Err(RebuildError::OtherName { found }.into());
            }
            let source = feeder(history, name, order)?;
            (JournalKind::Remote(source), name)
        }
    };
    let local = order.role == Role::Local;
    let epoch = history.facts.epoch;
    let stopped = match (local, history.knows_set()) {
        (true, true) => None,
        (true, false) => Some(CLOSED.to_owned()),
        (false, _) => Some(NOT_FED.to_owned()),
    };
    let links = if local { links(history) } else { Vec::new() };
    let look_again = look_again(history, local, &links);
    let set = history.facts.set.as_ref().map(|(_, set)| set);
    let untold = set.filter(|_| local).map_or_else(Vec::new, untold);
    // Those who have the entry that loosened the policy say so before the journal opens: then it is in force at once.
    let mut attributes = attributes(&history.header, set.filter(|_| local));
    let loosened = local && !attributes.policy.guards();
    let guard = history.guard.filter(|_| loosened);
    let policy_ordered = guard.map(|_| attributes.policy);
    attributes.policy = guard.unwrap_or(attributes.policy);
    let control = Control {
        journal: history.header.journal,
        name,
        kind,
        created_at: history.began_at.unwrap_or(Timestamp::ZERO),
        attributes,
        epoch: if local { epoch } else { Epoch::NONE },
        promised: if local { Epoch::NONE } else { epoch },
        receivers: records,
        checkpoint: history.checkpoint.clone(),
        links,
        cut: None,
        group: None,
        orphans,
        stopped,
        set_unknown: local && !history.knows_set(),
        next_name: None,
        policy_ordered,
        untold,
        began_behind: (!local).then_some(history.tip),
    };
    let mut members = set.map_or_else(Vec::new, |set| set.members.clone());
    members.extend(control.untold.iter().cloned());
    Ok(Rebuilt {
        control,
        members: (local && history.knows_set()).then_some(members),
        look_again,
    })
}

/// A journal is local where it was sealed, and nowhere else.
fn require_role(role: Role, header: &ReceiverHeader, here: SystemId) -> Result<(), RebuildError> {
    let (journal, origin) = (header.journal_name, header.origin_name);
    match role {
        Role::Local if header.origin != here => {
            Err(RebuildError::SealedElsewhere { origin, journal })
        }
        Role::Remote if header.origin == here => Err(RebuildError::SealedHere { journal }),
        _ => Ok(()),
    }
}

/// Who feeds a copy: whom the operator names, or the system that sealed it where its own history names this copy.
fn feeder(
    history: &History,
    name: QualifiedName,
    order: &Order,
) -> Result<SourceRecord, RebuildError> {
    let (journal, origin, origin_name) = history.origin();
    let known = history.targets.contains_key(&(order.owner.system, name));
    let (system, name) = match order.fed_by {
        Some((system, rdb)) if system != origin => (
            system,
            SystemName::new(rdb.as_str()).map_err(|_| RebuildError::NoFeeder)?,
        ),
        None if !known => return Err(RebuildError::NoFeeder),
        _ => (origin, origin_name),
    };
    let mut path = vec![origin];
    if system != origin {
        path.push(system);
    }
    Ok(SourceRecord {
        system,
        name,
        journal,
        path,
    })
}

/// What was set cannot be known, but for what headers and entries carry.
fn attributes(header: &ReceiverHeader, set: Option<&SetChange>) -> Attributes {
    let defaults = Attributes::default();
    Attributes {
        threshold: header.threshold,
        alignment: header.alignment,
        // Part of what was promised to whoever waits for a target: never loosened by the way (ruling 13).
        policy: set.map_or(defaults.policy, |set| set.policy),
        ..defaults
    }
}

/// The policy block or reject that may be in force after a change: the last one said, as long as nothing proves a looser one to
/// be in force - that somebody was left out by it, or that nobody was left to be told.
fn guard(before: Option<Policy>, change: &SetChange) -> Option<Policy> {
    let proves = matches!(
        change.reason,
        SetReason::TimedOut | SetReason::TargetFailed | SetReason::OpenedAlone
    );
    if change.policy.guards() || change.members.is_empty() || proves {
        return Some(change.policy).filter(|policy| policy.guards());
    }
    let loosens = change.reason == SetReason::Operator && change.left.is_empty();
    // Where the stricter one was said is deleted.
    before.or_else(|| loosens.then_some(Policy::Block))
}

/// Who was taken out last, and may not know it.
fn untold(set: &SetChange) -> Vec<Member> {
    if set.policy.guards() && set.reason == SetReason::Operator {
        set.left.clone()
    } else {
        Vec::new()
    }
}

/// The remote journals an in-sync set ever named, inactive: whether one was removed since, nobody here knows.
fn links(history: &History) -> Vec<LinkRecord> {
    let targets = history.targets.values();
    targets
        .map(|member| LinkRecord {
            rdb: member.rdb,
            system: member.system,
            target: member.journal,
            delivery: DeliveryMode::Sync,
            level: member.level,
            active: false,
            acknowledged: member.acknowledged,
            needs_reinit: false,
            text: String::new(),
        })
        .collect()
}

fn look_again(history: &History, local: bool, links: &[LinkRecord]) -> Vec<String> {
    let mut look = Vec::new();
    if !history.whole {
        look.push(format!(
            "entries before {} are not here: deleted with their receivers, or lost",
            history.first
        ));
    }
    let kept = if local && history.facts.set.is_some() {
        "threshold, alignment and policy"
    } else {
        "threshold and alignment"
    };
    look.push(format!(
        "attributes other than {kept} have their defaults: CHGJRN"
    ));
    for link in links {
        look.push(format!(
            "remote journal {} at {} is defined and inactive: CHGRMTJRN makes it active, RMVRMTJRN removes it",
            link.target, link.rdb
        ));
    }
    look.push(if local {
        "remote journals that were never in the in-sync set (*ASYNC) are not known: ADDRMTJRN"
            .to_owned()
    } else {
        "remote journals it fed are not known: ADDRMTJRN".to_owned()
    });
    if local && !history.knows_set() {
        look.push(
            "its in-sync set cannot be known, so it stays closed: CHGJRN OPEN(*ALONE) when no target holds more"
                .to_owned(),
        );
    } else if !local {
        look.push("it is not fed: CHGJRN JRNSTATE(*ACTIVE)".to_owned());
    }
    look.push("which receivers were saved is not known".to_owned());
    if local {
        look.push(
            "whether another system had closed it is not known: DSPMSG (RJN2006) before deposits go on"
                .to_owned(),
        );
    }
    look
}

/// What a directory without a control file holds.
#[derive(Debug)]
pub struct Traced {
    /// What its receivers say.
    pub history: History,
    /// The receiver directory.
    pub records: Vec<ReceiverRecord>,
    /// How many orphan archives there are.
    pub orphans: u64,
    /// The last entry.
    pub tip: Sequence,
}

/// What the receivers of the journal in `dir` call it, and the system that sealed them.
///
/// # Errors
/// [`JournalError::Receiver`] when their headers are no chain.
pub fn sealed_by(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<(QualifiedName, SystemId), JournalError> {
    let dir = dir.join(RECEIVERS_DIR);
    let chain = headers(disk, &dir)?;
    let last = chain.last().ok_or(ReceiverError::NoReceivers { dir })?;
    Ok((last.1.journal_name, last.1.origin))
}

/// Reads every bundle of the local journal in `dir`, which is not in use, by the headers of its receivers.
///
/// # Errors
/// [`JournalError`]: its receivers are no whole chain. Nothing is changed.
pub fn stored_entries(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    visit: &mut dyn FnMut(&SealedBundle),
) -> Result<(), JournalError> {
    let receivers = dir.join(RECEIVERS_DIR);
    let chain = headers(disk, &receivers)?;
    let evidence = evidence(disk, dir, Sequence::NONE, true)?;
    trace(disk, &receivers, &chain, evidence, &|_| {}, &mut |met| {
        if let Met::Bundle(bundle) = met {
            visit(bundle);
        }
    })?;
    Ok(())
}

/// What is known to have been flushed in `dir`.
fn evidence(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    known: Sequence,
    sealed_here: bool,
) -> Result<Evidence, JournalError> {
    let (_, mark) = MarkFile::open(&**disk, dir)?;
    let marked = mark.map_or(Sequence::NONE, |mark| mark.written.sequence);
    Ok(Evidence {
        known: known.max(marked),
        sealed_here,
        cut_at: None,
    })
}

/// What should be there of a journal whose control file is lost, as far as the headers of its receivers say it.
#[derive(Debug)]
pub struct Remains {
    /// The journal.
    pub journal: JournalId,
    /// The system that sealed it.
    pub origin: SystemId,
    /// Where its receivers are.
    pub receivers_dir: PathBuf,
    /// Its receivers, oldest first.
    pub expected: Vec<Expected>,
}

/// What should be there of the journal in `dir`, whose control file is lost and whose receivers do not hold: every
/// receiver up to the place and head where the next one begins, the last one up to the flush mark, and to `known`, an entry
/// that something else here proves to have been flushed. `here` is this system.
///
/// # Errors
/// [`JournalError`]: a header cannot be read, the headers are no chain, or the role is not theirs. Nothing is changed.
pub fn remains(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (role, known): (Role, Sequence),
    here: SystemId,
) -> Result<Remains, JournalError> {
    let receivers_dir = dir.join(RECEIVERS_DIR);
    let chain = headers(disk, &receivers_dir)?;
    let Some((_, header)) = chain.last() else {
        return Err(ReceiverError::NoReceivers { dir: receivers_dir }.into());
    };
    require_role(role, header, here)?;
    let (_, mark) = MarkFile::open(&**disk, dir)?;
    let mark = mark.map(|mark| mark.written);
    let marked = mark.map_or(Sequence::NONE, |mark| mark.sequence);
    let last = Ending::Open {
        known: known.max(marked),
        mark,
        sealed_here: role == Role::Local,
    };
    Ok(Remains {
        journal: header.journal,
        origin: header.origin,
        expected: expected_by_headers(&chain, last),
        receivers_dir,
    })
}

/// Reads everything the journal in `dir` has left, whose control file is lost. `known` is an entry that something else here
/// proves to have been flushed; `read` is told bytes as they are read.
///
/// # Errors
/// [`JournalError`]: the control file is not lost, or the receivers are no whole chain. Nothing is changed.
pub fn traced(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    (role, known): (Role, Sequence),
    read: &dyn Fn(u64),
) -> Result<Traced, JournalError> {
    ControlFile::require_lost(disk, dir)?;
    let receivers = dir.join(RECEIVERS_DIR);
    let chain = headers(disk, &receivers)?;
    let Some((_, oldest)) = chain.first() else {
        return Err(ReceiverError::NoReceivers { dir: receivers }.into());
    };
    let evidence = evidence(disk, dir, known, role == Role::Local)?;
    let mut history = History::new(oldest);
    let records = trace(
        disk,
        &receivers,
        &chain,
        evidence,
        read,
        &mut |met| match met {
            Met::Receiver(header) => history.handle_receiver(header),
            Met::Bundle(bundle) => history.handle_bundle(bundle),
        },
    )?;
    let orphans = orphan::list(&**disk, dir)?;
    let orphans = orphans.iter().map(|orphan| orphan.number).max();
    Ok(Traced {
        tip: history.tip,
        history,
        records,
        orphans: orphans.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests;
