//! Package `tests`, the cluster: what happens to the local journal at node 0: deposits, seals, writes, changes of receivers. Must
//! not know connections.

use rjournal::daemon::crank::{seal_and_tell, write_and_tell};
use rjournal::entry::{Draft, Kind};
use rjournal::receiver::Space;
use rjournal::remote::MemberKey;

use super::systems::Cluster;
use crate::node::Running;

impl Cluster {
    /// Deposits one entry whose payload is its number, followed by filling.
    pub fn deposit(&mut self, filling: usize) -> bool {
        let wall = self.wall();
        let id = self.deposits;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + filling, id as u8);
        let Some(open) = self.open_mut() else {
            return false;
        };
        let taken = open
            .journal
            .deposit(&Draft::new(Kind::USER, &payload), wall);
        self.deposits += 1;
        match taken {
            Ok(ticket) => self.ledger.taken(id, ticket),
            Err(_) => self.ledger.refused(id),
        }
        true
    }

    /// The writer seals what is open.
    pub fn seal(&mut self) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(open) = self.open_mut().filter(|open| open.batch.is_none()) else {
            return false;
        };
        match seal_and_tell(&mut open.writer, &open.confirmation, wall, now) {
            Ok(batch) => open.batch = batch,
            Err(_) => open.failed = true,
        }
        let sealed = open.batch.is_some();
        self.look_links(0);
        sealed
    }

    /// The writer writes and flushes what it sealed.
    pub fn write(&mut self) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(open) = self.open_mut() else {
            return false;
        };
        let Some(batch) = open.batch.take() else {
            return false;
        };
        match write_and_tell(&mut open.writer, batch, &open.confirmation, wall, now) {
            Ok(left) => self.tell_left(&left),
            Err(_) => open.failed = true,
        }
        self.ledger.look();
        self.look_links(0);
        true
    }

    /// Prepares the next receiver at the source.
    pub fn prepare_spare(&mut self) {
        if let Some(open) = self.open_mut() {
            let (spare, bytes) = open.writer.spare();
            drop(spare.prepare(bytes, Space::Zeroed));
        }
    }

    /// An operator changes the receiver.
    pub fn order_change(&mut self) {
        if let Some(open) = self.open_mut() {
            open.journal.order_change(None);
        }
    }

    pub(crate) fn tell_left(&mut self, left: &[MemberKey]) {
        let now = self.now;
        if let Some(Running { links, .. }) = &mut self.nodes[0].running {
            for link in links.iter_mut().filter(|link| left.contains(&link.key())) {
                link.link.handle_left(now);
            }
        }
        self.pump(0);
    }

    pub(crate) fn look_links(&mut self, node: usize) {
        let now = self.now;
        if let Some(Running { links, .. }) = &mut self.nodes[node].running {
            for link in links {
                link.look(now);
            }
        }
        self.pump(node);
    }
}
