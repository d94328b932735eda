//! Package `tests`, the pair: what is where: on disks, shown to readers, in the history.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::entry::control_entry::{SetChange, SetReason};
use rjournal::entry::{Sequence, Timestamp};
use rjournal::journal::{Copy, DeliveryMode, Orphan, Recovered};
use rjournal::receiver::ChainReader;

use super::{Pair, SOURCE};
use crate::bench_journal::DIR;
use crate::checkers::{Content, content};

impl Pair {
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
    ///
    /// # Panics
    /// When it is not.
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
        self.names(&content(&reader, upto))
    }

    /// Names of the entries an apply job at the source may read.
    pub fn shown_settled(&mut self) -> Vec<&'static str> {
        let journal = &self.open().journal;
        let found = content(journal.reader(), journal.tail().marks().settled);
        self.names(&found)
    }

    fn names(&self, found: &Content) -> Vec<&'static str> {
        let name = |id: &u64| self.ids.iter().find(|(_, known)| *known == id);
        let names = found.ids.values().filter_map(name);
        names.map(|(name, _)| *name).collect()
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
        let journal = &self.open().journal;
        content(journal.reader(), journal.tail().marks().written).changes
    }

    /// Why the in-sync set last changed.
    pub fn last_change(&mut self) -> Option<SetReason> {
        self.set_changes().last().map(|change| change.reason)
    }

    /// How many targets the in-sync set has.
    ///
    /// # Panics
    /// When the journal is not open.
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
