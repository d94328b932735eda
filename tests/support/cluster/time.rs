//! Package `tests`, the cluster: time goes on by hand, and everything that can happen without a fault happens. Must not make
//! faults.

use std::time::Duration;

use rjournal::daemon::crank::carry_confirmation;

use super::systems::Cluster;
use crate::node::{Running, Side};

impl Cluster {
    /// Time goes on; whoever waits for it is told.
    pub fn tick(&mut self, step: Duration) {
        self.now = self.now + step;
        let (wall, now) = (self.wall(), self.now);
        for node in 0..self.nodes.len() {
            let mut left = Vec::new();
            if let Some(Running { side, links }) = &mut self.nodes[node].running {
                for link in links
                    .iter_mut()
                    .filter(|link| link.link.poll_timeout().is_some_and(|due| due <= now))
                {
                    link.link.handle_timeout(now);
                }
                match side {
                    Side::Open(open) => {
                        let mut confirmation = open
                            .confirmation
                            .lock()
                            .expect("no panic while it was held");
                        if confirmation.poll_timeout().is_some_and(|due| due <= now) {
                            confirmation.handle_timeout(now);
                            left = carry_confirmation(&open.journal, &mut confirmation, wall, now);
                        }
                    }
                    Side::Opening(crank) => crank.handle_timeout(now),
                    Side::Copy {
                        session: Some((_, crank)),
                        ..
                    } => crank.session.handle_timeout(now),
                    Side::Copy { .. } | Side::Refused(_) => {}
                }
            }
            self.end_silent(node);
            self.tell_left(&left);
            self.pump(node);
            self.try_open(node);
        }
    }

    /// Lets a target's session that timed out end.
    fn end_silent(&mut self, node: usize) {
        let wall = self.wall();
        let Some(Running {
            side: Side::Copy { copy, session, .. },
            ..
        }) = &mut self.nodes[node].running
        else {
            return;
        };
        let Some((id, crank)) = session else {
            return;
        };
        crank.turn(copy, wall, &mut Vec::new());
        if crank.ended.is_some() {
            let id = *id;
            *session = None;
            for connection in self.connections.iter_mut().filter(|c| c.id == id) {
                connection.closed = true;
            }
        }
    }

    /// Everything that can happen without a fault happens, until nothing more does.
    pub fn settle(&mut self) {
        for _ in 0..20_000 {
            let mut moved = self.answer_dial();
            moved |= self.seal();
            moved |= self.write();
            let mut index = 0;
            while index < self.connections.len() {
                while self.deliver_forth(index)
                    && !self
                        .connections
                        .get(index)
                        .is_none_or(|c| c.forth.is_empty())
                {
                    moved = true;
                }
                let to = self.connections.get(index).map_or(0, |c| c.to);
                moved |= self.flush(to);
                let before = self.connections.len();
                while self.connections.len() == before && self.deliver_back(index) {
                    moved = true;
                }
                if self.connections.len() == before {
                    index += 1;
                } else {
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Settles, and lets time go on, until `done` or for `limit` of virtual time. Says whether it is done.
    pub fn settle_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.tick(Duration::from_millis(20));
        }
    }
}
