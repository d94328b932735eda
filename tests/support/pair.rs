//! Package `tests`: two or three systems as a story: deposits by name, one step after the other by hand, faults by name,
//! and what must be true afterwards. Node 0 is the source; node 1 its target; node 2, where there is one, a second target
//! or the end of a cascade.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::crank::{OpeningState, carry_confirmation};
use rjournal::disk::{CrashedDisk, MemoryDisk};
use rjournal::entry::control_entry::{Policy, SetChange, SetReason};
use rjournal::entry::{ClientId, DepositKey, Draft, Epoch, Kind, Sequence, Timestamp};
use rjournal::error::DepositError;
use rjournal::journal::{
    AckClass, Answer, Attributes, Copy, DeliveryMode, Gate, Orphan, Recovered, Ticket,
};
use rjournal::receiver::ChainReader;
use rjournal::remote::{EndReason, Frame, LinkEvent, LinkState, Refusal, RefusalCode, Shown};

use crate::bench_journal::DIR;
use crate::checkers::{self, Content, content};
use crate::cluster::{Cluster, Plan, asynchronous, quick, sync};
use crate::node::{OpenSide, Running, Side};

/// The system whose journal takes deposits.
pub const SOURCE: usize = 0;
/// The system that holds its copy.
pub const TARGET: usize = 1;
/// A second target, or the end of a cascade.
pub const THIRD: usize = 2;

/// What a client was told about its deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// On the disks of all.
    Sync,
    /// On this disk, in the memory of all.
    Received,
    /// On this disk.
    Local,
    /// Certainly not in the journal.
    Refused,
    /// May be in the journal.
    Unknown,
    /// Nothing, so far or for ever.
    Nothing,
}

/// Systems with a journal and its copies.
#[derive(Debug)]
pub struct Pair {
    /// The systems underneath.
    pub cluster: Cluster,
    ids: BTreeMap<&'static str, u64>,
}

/// One pair under policy degrade, in sync.
pub fn degrade() -> Pair {
    Pair::in_sync(quick(Policy::Degrade))
}

/// One pair under policy block, in sync.
pub fn block() -> Pair {
    Pair::in_sync(quick(Policy::Block))
}

/// One pair under policy reject, in sync.
pub fn reject() -> Pair {
    Pair::in_sync(quick(Policy::Reject))
}

/// One pair with *ASYNC delivery, level.
pub fn behind() -> Pair {
    Pair::level_with(2, &[asynchronous(SOURCE, TARGET)], quick(Policy::Degrade))
}

/// A *SYNC target that feeds a third system.
pub fn cascade() -> Pair {
    Pair::level_with(
        3,
        &[sync(TARGET), asynchronous(TARGET, THIRD)],
        quick(Policy::Degrade),
    )
}

/// Two *SYNC targets of one source.
pub fn broadcast() -> Pair {
    Pair::level_with(3, &[sync(TARGET), sync(THIRD)], quick(Policy::Degrade))
}

impl Pair {
    /// Everything is defined and started; nothing has moved yet.
    pub fn fresh(nodes: usize, plans: &[Plan], attributes: Attributes) -> Self {
        Self {
            cluster: Cluster::new(nodes, plans, attributes, 4711),
            ids: BTreeMap::new(),
        }
    }

    /// Everything is level and every *SYNC target in the set.
    pub fn level_with(nodes: usize, plans: &[Plan], attributes: Attributes) -> Self {
        let mut pair = Self::fresh(nodes, plans, attributes);
        pair.recover();
        pair
    }

    /// One source and one *SYNC target, in sync.
    pub fn in_sync(attributes: Attributes) -> Self {
        Self::level_with(2, &[sync(TARGET)], attributes)
    }

    // ----- deposits and answers

    /// The open side of the source.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn open(&mut self) -> &mut OpenSide {
        self.cluster.open_mut().expect("an open journal")
    }

    /// The payload of a deposit: its number and filling.
    pub fn payload(&mut self, name: &'static str, filling: usize) -> Vec<u8> {
        let id = self.cluster.deposits;
        self.cluster.deposits += 1;
        self.ids.insert(name, id);
        self.payload_again(name, filling)
    }

    /// The payload of a deposit made before.
    pub fn payload_again(&self, name: &str, filling: usize) -> Vec<u8> {
        let id = self.ids[name];
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + filling, id as u8);
        payload
    }

    /// Deposits an entry; its answer comes later. Nothing else happens.
    pub fn deposit(&mut self, name: &'static str) -> &mut Self {
        drop(self.try_deposit(name, 10));
        self
    }

    /// Deposits entries of about 100 KB each, as much as the journal is asked for.
    pub fn deposit_large(&mut self, name: &'static str) -> &mut Self {
        let taken = self.try_deposit(name, 100_000);
        if matches!(taken, Err(DepositError::Busy)) {
            self.cluster.prepare_spare();
            self.seal().write();
            drop(self.try_deposit(name, 100_000));
        }
        self
    }

    /// Deposits an entry and says whether it was taken.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn try_deposit(
        &mut self,
        name: &'static str,
        filling: usize,
    ) -> Result<Ticket, DepositError> {
        let payload = self.payload(name, filling);
        self.try_draft(name, &Draft::new(Kind::USER, &payload))
    }

    /// Deposits an entry under a key; a retry repeats name and key.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn deposit_keyed(&mut self, name: &'static str, key: u64) -> Result<Ticket, DepositError> {
        let payload = if self.ids.contains_key(name) {
            self.payload_again(name, 10)
        } else {
            self.payload(name, 10)
        };
        let draft = Draft {
            key: Some(DepositKey {
                client: ClientId::from_bytes([7; 16]),
                key,
            }),
            ..Draft::new(Kind::USER, &payload)
        };
        self.try_draft(name, &draft)
    }

    /// Deposits a draft under a name.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn try_draft(
        &mut self,
        name: &'static str,
        draft: &Draft<'_>,
    ) -> Result<Ticket, DepositError> {
        let id = self.ids[name];
        let wall = self.cluster.wall();
        let taken = match self.cluster.open_mut() {
            Some(open) => open.journal.deposit(draft, wall),
            None => Err(DepositError::NotOpen),
        };
        match &taken {
            Ok(ticket) => self.cluster.ledger.taken(id, ticket.clone()),
            // Nobody was told anything: the same deposit comes again in a moment.
            Err(DepositError::Busy) => {}
            Err(_) => self.cluster.ledger.refused(id),
        }
        taken
    }

    /// What the last client that deposited under this name was told.
    pub fn said(&mut self, name: &str) -> Said {
        self.cluster.ledger.look();
        let id = self.ids[name];
        let deposits = self.cluster.ledger.deposits();
        let last = deposits.iter().rev().find(|deposit| deposit.id == id);
        match last.expect("it was deposited").answer {
            None => Said::Nothing,
            Some(Answer::Refused { .. }) => Said::Refused,
            Some(Answer::Unknown { .. }) => Said::Unknown,
            Some(Answer::Landed { class, .. }) => match class {
                AckClass::Sync => Said::Sync,
                AckClass::Received => Said::Received,
                AckClass::Local => Said::Local,
            },
        }
    }

    /// Asserts what a client was told.
    #[track_caller]
    pub fn answers(&mut self, name: &str, expected: Said) -> &mut Self {
        let said = self.said(name);
        assert_eq!(
            said,
            expected,
            "the answer to {name}\n{}",
            self.cluster.describe()
        );
        self
    }

    // ----- single steps

    /// The source seals what was deposited; links ship it at once if they may.
    pub fn seal(&mut self) -> &mut Self {
        self.cluster.seal();
        self
    }

    /// The source writes and flushes what it sealed.
    pub fn write(&mut self) -> &mut Self {
        self.cluster.write();
        self
    }

    /// Everything under way to a system arrives there; nothing is flushed.
    pub fn arrive(&mut self, at: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            while self
                .cluster
                .connections
                .get(index)
                .is_some_and(|c| c.to == at && !c.forth.is_empty())
            {
                if !self.cluster.deliver_forth(index) {
                    break;
                }
            }
        }
        self
    }

    /// A target flushes what it was asked to.
    pub fn flush(&mut self, node: usize) -> &mut Self {
        self.cluster.flush(node);
        self
    }

    /// Everything a system answered arrives at its source.
    pub fn return_from(&mut self, node: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            while self
                .cluster
                .connections
                .get(index)
                .is_some_and(|c| c.to == node && !c.back.is_empty())
            {
                self.cluster.deliver_back(index);
            }
        }
        self
    }

    /// Both ends notice that their connection is gone.
    pub fn notice(&mut self) -> &mut Self {
        for index in (0..self.cluster.connections()).rev() {
            if self.cluster.connections[index].closed {
                self.cluster.deliver_forth(index);
                self.cluster.deliver_back(index);
            }
        }
        self
    }

    /// Answers all dials; nothing else moves.
    pub fn dial(&mut self) -> &mut Self {
        while self.cluster.answer_dial() {}
        self
    }

    /// Brings a new session as far as both ends stream, without any flush a session asks for.
    pub fn couple_without_flush(&mut self, node: usize) -> &mut Self {
        self.dial();
        for _ in 0..200 {
            self.arrive(node).return_from(node);
        }
        self
    }

    /// All that can happen happens; time stands still.
    pub fn settle(&mut self) -> &mut Self {
        self.cluster.settle();
        self
    }

    /// Time goes on, and all that can happen happens.
    pub fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.cluster.now + time;
        while self.cluster.now < end {
            let step = end.since(self.cluster.now).min(Duration::from_millis(50));
            self.cluster.tick(step);
            self.cluster.settle();
        }
        self
    }

    /// As [`Self::pass`], in seconds.
    pub fn seconds(&mut self, seconds: u64) -> &mut Self {
        self.pass(Duration::from_secs(seconds))
    }

    /// Only the clock goes on.
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.cluster.tick(time);
        self
    }

    /// Time goes on until everything is level and in sync.
    ///
    /// # Panics
    /// When that does not come to pass.
    #[track_caller]
    pub fn recover(&mut self) -> &mut Self {
        self.cluster.prepare_spare();
        let level = self
            .cluster
            .settle_until(Duration::from_secs(60), |cluster| {
                cluster.is_level() && cluster.is_in_sync()
            });
        assert!(
            level,
            "it does not come level:\n{}",
            self.cluster.describe()
        );
        self
    }

    /// As [`Self::recover`]; then everything that was answered must be there, and all copies must be the same bytes.
    #[track_caller]
    pub fn recovers_whole(&mut self) -> &mut Self {
        self.recover();
        checkers::answers_are_true(&self.cluster);
        checkers::receivers_are_identical(&self.cluster);
        self
    }

    // ----- the line

    /// The line between source and target breaks, both ends notice.
    pub fn cut(&mut self) -> &mut Self {
        self.cut_between(SOURCE, TARGET)
    }

    /// The line between two systems breaks, both ends notice.
    pub fn cut_between(&mut self, a: usize, b: usize) -> &mut Self {
        self.cluster.cut.insert((a.min(b), a.max(b)));
        self.break_between(a, b)
    }

    /// The connection between two systems breaks; the line is good.
    pub fn break_between(&mut self, a: usize, b: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            let connection = &self.cluster.connections[index];
            if [(a, b), (b, a)].contains(&(connection.from, connection.to)) {
                self.cluster.break_connection(index);
            }
        }
        self
    }

    /// All lines are good again.
    pub fn mend(&mut self) -> &mut Self {
        self.cluster.cut.clear();
        self.cluster.dark.clear();
        self
    }

    /// What one system sends to another does not arrive, and nobody is told.
    pub fn darken(&mut self, from: usize, to: usize) -> &mut Self {
        self.cluster.dark.insert((from, to));
        self
    }

    /// The newest connection to a system: frames under way to it.
    ///
    /// # Panics
    /// When there is none.
    pub fn frames_to(&mut self, node: usize) -> &mut std::collections::VecDeque<Frame> {
        let connections = self.cluster.connections.iter_mut().rev();
        &mut connections
            .into_iter()
            .find(|c| c.to == node)
            .expect("a connection")
            .forth
    }

    /// The newest connection to a system: frames under way back from it.
    ///
    /// # Panics
    /// When there is none.
    pub fn frames_from(&mut self, node: usize) -> &mut std::collections::VecDeque<Frame> {
        let connections = self.cluster.connections.iter_mut().rev();
        &mut connections
            .into_iter()
            .find(|c| c.to == node)
            .expect("a connection")
            .back
    }

    // ----- systems going down and coming up

    fn take_down(&mut self, node: usize, disk: MemoryDisk) {
        self.cluster.crash(node, 0);
        self.cluster.nodes[node].disk = disk;
    }

    /// A system loses power: what was not synced is gone.
    pub fn lose_power(&mut self, node: usize) -> &mut Self {
        let left = self.cluster.nodes[node].disk.crash_to_synced();
        self.take_down(node, left.power_on());
        self
    }

    /// A system loses power: of what was not synced, what the seed says survives in pieces.
    pub fn tear(&mut self, node: usize, seed: u64) -> &mut Self {
        self.cluster.crash(node, seed);
        self
    }

    /// The process of a system is killed: the machine and its page cache live on.
    pub fn kill(&mut self, node: usize) -> &mut Self {
        self.cluster.kill(node);
        self
    }

    /// A system goes down and its medium becomes this one.
    pub fn restore(&mut self, node: usize, medium: &CrashedDisk) -> &mut Self {
        self.take_down(node, medium.power_on());
        self
    }

    /// The medium of a system as it is now, everything flushed.
    pub fn snapshot(&self, node: usize) -> CrashedDisk {
        self.cluster.nodes[node].disk.image()
    }

    /// A system starts.
    ///
    /// # Panics
    /// When recovery refuses.
    #[track_caller]
    pub fn start(&mut self, node: usize) -> &mut Self {
        if let Err(text) = self.cluster.start(node) {
            panic!("system {node} does not start: {text}");
        }
        self
    }

    /// A system does not start; gives what recovery says.
    ///
    /// # Panics
    /// When it starts.
    #[track_caller]
    pub fn refuses_to_start(&mut self, node: usize) -> String {
        match self.cluster.start(node) {
            Ok(()) => panic!("system {node} starts:\n{}", self.cluster.describe()),
            Err(text) => text,
        }
    }

    /// An operator opens the source without hearing its set.
    ///
    /// # Panics
    /// When it is not on its way.
    pub fn open_alone(&mut self) -> &mut Self {
        let Some(Running {
            side: Side::Opening(crank),
            ..
        }) = &mut self.cluster.nodes[SOURCE].running
        else {
            panic!("the journal is not on its way");
        };
        crank.open_alone().expect("a live disk");
        self.cluster.try_open(SOURCE);
        self
    }

    /// An operator allows the source to adopt a tail of any length.
    ///
    /// # Panics
    /// When it is not on its way.
    pub fn allow_adopt(&mut self) -> &mut Self {
        let Some(Running {
            side: Side::Opening(crank),
            ..
        }) = &mut self.cluster.nodes[SOURCE].running
        else {
            panic!("the journal is not on its way");
        };
        crank.allow_adopt().expect("a live disk");
        self.cluster.pump(SOURCE);
        self
    }

    /// Whether the source takes deposits.
    pub fn is_open(&self) -> bool {
        self.cluster
            .open()
            .is_some_and(|open| matches!(open.journal.gate(), Gate::Open | Gate::Held { .. }))
    }

    /// What an opening that refuses says.
    pub fn opening(&self) -> Option<OpeningState> {
        match &self.cluster.nodes[SOURCE].running {
            Some(Running {
                side: Side::Opening(crank),
                ..
            }) => Some(crank.state()),
            _ => None,
        }
    }

    /// The epoch the source is open in.
    pub fn epoch(&mut self) -> Epoch {
        self.open().journal.epoch()
    }

    // ----- links

    /// The link from a system, for people.
    ///
    /// # Panics
    /// When there is none.
    pub fn link(&self, from: usize, index: usize) -> Shown {
        let running = self.cluster.nodes[from].running.as_ref().expect("it is up");
        running.links[index].link.shown()
    }

    /// Asserts that the source's first link was refused, and has stopped trying where time does not help.
    #[track_caller]
    pub fn is_refused(&self, code: RefusalCode) -> Refusal {
        let shown = self.link(SOURCE, 0);
        let Some(EndReason::Refused(refusal)) = shown.last_end else {
            panic!("not refused: {shown:?}\n{}", self.cluster.describe());
        };
        assert_eq!(refusal.code, code, "{}", refusal.text);
        let stopped = shown.state == LinkState::Failed;
        assert_eq!(stopped, !code.may_pass(), "{:?}", shown.state);
        refusal
    }

    /// An operator activates the source's first link again.
    pub fn activate(&mut self) -> &mut Self {
        let now = self.cluster.now;
        if let Some(Running { links, .. }) = &mut self.cluster.nodes[SOURCE].running {
            crate::node::activate(&mut links[0], now);
        }
        self.cluster.pump(SOURCE);
        self
    }

    /// An operator changes policy or time-out.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn change_policy(&mut self, policy: Policy) -> &mut Self {
        let (wall, now) = (self.cluster.wall(), self.cluster.now);
        let open = self.open();
        let mut confirmation = open.confirmation.lock().expect("nobody panicked");
        confirmation.handle_policy(policy, Duration::from_secs(2), 100, now);
        let left = carry_confirmation(&open.journal, &mut confirmation, wall, now);
        drop(confirmation);
        self.cluster.tell_left(&left);
        self
    }

    /// An operator inactivates the source's first link at once.
    pub fn inactivate(&mut self) -> &mut Self {
        let now = self.cluster.now;
        if let Some(Running { links, .. }) = &mut self.cluster.nodes[SOURCE].running {
            links[0].link.inactivate(None, now);
        }
        self.cluster.pump(SOURCE);
        self
    }

    /// How often something happened on links.
    pub fn happened(&self, what: impl Fn(&LinkEvent) -> bool) -> usize {
        self.cluster
            .events
            .iter()
            .filter(|(_, event)| what(event))
            .count()
    }

    // ----- what is where

    /// The copy of a system.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn copy(&self, node: usize) -> &Copy {
        match self.cluster.copy(node) {
            Some(copy) => copy,
            None => panic!("no copy runs at {node}:\n{}", self.cluster.describe()),
        }
    }

    /// Entries set aside at a system.
    ///
    /// # Panics
    /// When an archive cannot be read.
    pub fn orphans(&self, node: usize) -> Vec<Orphan> {
        self.copy(node).shared().orphans().expect("readable")
    }

    /// What a system would have if power were lost this moment and nothing unsynced survived.
    ///
    /// # Panics
    /// When it would not recover.
    #[track_caller]
    pub fn on_disk(&self, node: usize) -> Content {
        let disk = self.cluster.nodes[node].disk.crash_to_synced().power_on();
        if node == SOURCE {
            let owner = self.cluster.nodes[node].owner();
            let recovered = Recovered::open(Arc::new(disk), Path::new(DIR), owner);
            let recovered = recovered.expect("the source recovers");
            content(&recovered.reader(), recovered.tip().sequence)
        } else {
            let copy = Copy::open(Arc::new(disk), Path::new(DIR), Sequence::NONE);
            let copy = copy.expect("a copy recovers");
            content(copy.shared().reader(), copy.tip().sequence)
        }
    }

    /// Whether an entry is on the disk of a system, whatever happens to its power.
    #[track_caller]
    pub fn keeps(&self, node: usize, name: &str) -> bool {
        let id = self.ids[name];
        self.on_disk(node).ids.values().any(|found| *found == id)
    }

    /// Asserts that an entry is on the disks of these systems and no others.
    #[track_caller]
    pub fn only_on(&mut self, name: &str, nodes: &[usize]) -> &mut Self {
        for node in 0..self.cluster.nodes.len() {
            assert_eq!(
                self.keeps(node, name),
                nodes.contains(&node),
                "{name} on system {node}"
            );
        }
        self
    }

    /// Names of the entries a system shows to readers: at the source what is written, at a copy what is confirmed.
    pub fn shows(&self, node: usize) -> Vec<&'static str> {
        let (reader, upto): (ChainReader, Sequence) = match self.cluster.open() {
            Some(open) if node == SOURCE => (
                open.journal.reader().clone(),
                open.journal.tail().marks().written,
            ),
            _ => {
                let shared = self.copy(node).shared();
                (shared.reader().clone(), shared.tail().marks().settled)
            }
        };
        let found = content(&reader, upto);
        let name = |id: &u64| self.ids.iter().find(|(_, known)| *known == id);
        found
            .ids
            .values()
            .filter_map(|id| name(id).map(|(name, _)| *name))
            .collect()
    }

    /// Number of the entry a name was answered with.
    ///
    /// # Panics
    /// When it did not land.
    #[track_caller]
    pub fn sequence(&self, name: &str) -> u64 {
        let id = self.ids[name];
        let landed = self.cluster.ledger.landed();
        let found = landed.iter().find(|(_, (landed, _, _))| *landed == id);
        *found.expect("it landed").0
    }

    /// All changes of the in-sync set written at the source, oldest first.
    ///
    /// # Panics
    /// When the journal cannot be read.
    pub fn set_changes(&mut self) -> Vec<SetChange> {
        let open = self.open();
        let (reader, upto) = (
            open.journal.reader().clone(),
            open.journal.tail().marks().written,
        );
        let mut found = Vec::new();
        let mut after = reader.oldest().sequence;
        while after < upto {
            let bundles = reader.bundles_after(after, upto, 1 << 20);
            let bundles = bundles.expect("a readable journal");
            after = bundles.last().expect("more").header.last();
            for bundle in &bundles {
                let views = bundle.entries().flatten();
                let sets = views.filter(|view| view.kind == Kind::IN_SYNC_SET);
                found.extend(sets.map(|view| {
                    SetChange::decode(view.payload.bytes()).expect("a readable set change")
                }));
            }
        }
        found
    }

    /// Why the in-sync set last changed.
    pub fn last_change(&mut self) -> Option<SetReason> {
        self.set_changes().last().map(|change| change.reason)
    }

    /// How many targets the in-sync set has.
    pub fn members(&mut self) -> usize {
        let open = self.open();
        let confirmation = open.confirmation.lock().expect("nobody panicked");
        confirmation.members().0.len()
    }

    /// Files of the receivers of a system, oldest first.
    pub fn receiver_files(&self, node: usize) -> Vec<PathBuf> {
        match self.cluster.open() {
            Some(open) if node == SOURCE => open.journal.paths(),
            _ => self.copy(node).shared().reader().paths(),
        }
    }

    /// Changes the receiver at the source, everything settled.
    pub fn change_receiver(&mut self) -> &mut Self {
        self.cluster.order_change();
        self.cluster.settle();
        self
    }

    /// Wall clock time of the systems.
    pub fn wall(&self) -> Timestamp {
        self.cluster.wall()
    }

    /// Turns the target's delivery into *ASYNC or *SYNC in the source's definition, for the next start.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn redefine(&mut self, delivery: DeliveryMode) -> &mut Self {
        let changed = self
            .open()
            .journal
            .update(|control| control.links[0].delivery = delivery);
        changed.expect("a live disk");
        self
    }
}
