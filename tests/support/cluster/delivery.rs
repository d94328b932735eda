//! Package `tests`, the cluster: one frame at a time arrives, one flush at a time is made. Must not choose which is next.

use super::connection::{Connection, Owner};
use super::systems::Cluster;
use crate::node::{Running, Side};

impl Cluster {
    /// Delivers the next frame to the target of a connection, or its end.
    pub fn deliver_forth(&mut self, index: usize) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let (id, to) = (connection.id, connection.to);
        if self.dark.contains(&(connection.from, to)) {
            return false;
        }
        let mut frame = connection.forth.pop_front();
        if frame.is_none() && !connection.closed {
            return false;
        }
        if !connection.greeted
            && let Some(first) = frame.take()
        {
            self.greet(index, first);
            return true;
        }
        let mut out = Vec::new();
        let mut ended = false;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed,
                },
            ..
        }) = &mut self.nodes[to].running
            && let Some((current, crank)) = session
            && *current == id
        {
            match frame {
                Some(frame) => crank.session.handle_frame(frame, now),
                None => crank.session.handle_lost(),
            }
            crank.turn(copy, wall, &mut out);
            ended = crank.ended.is_some();
            if let Some(error) = crank.take_failure().filter(|error| !error.is_disk_full()) {
                *failed = Some(error.to_string());
            }
            if ended {
                *session = None;
            }
        }
        if let Some(connection) = self.connections.get_mut(index) {
            connection.back.extend(out);
            connection.closed |= ended;
        }
        self.look_links(to);
        true
    }

    /// The target of a connection flushes what it was asked to.
    pub fn flush(&mut self, node: usize) -> bool {
        let wall = self.wall();
        let disk = self.nodes[node].shared_disk();
        let mut out = Vec::new();
        let mut of = None;
        let mut ended = false;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed,
                },
            ..
        }) = &mut self.nodes[node].running
            && let Some((id, crank)) = session
        {
            crank.flush(copy, &*disk, wall, &mut out);
            of = Some(*id);
            ended = crank.ended.is_some();
            if let Some(error) = crank.take_failure().filter(|error| !error.is_disk_full()) {
                *failed = Some(error.to_string());
            }
            if ended {
                *session = None;
            }
        }
        let did = !out.is_empty();
        if let Some(connection) = self.connections.iter_mut().find(|c| Some(c.id) == of) {
            connection.back.extend(out);
            connection.closed |= ended;
        }
        self.look_links(node);
        did
    }

    /// Delivers the next frame to the source of a connection, or its end.
    pub fn deliver_back(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let (id, from, owner) = (connection.id, connection.from, connection.owner);
        if self.dark.contains(&(connection.to, from)) {
            if !connection.closed {
                return false;
            }
            connection.back.clear();
        }
        let frame = connection.back.pop_front();
        if frame.is_none() && !connection.closed {
            return false;
        }
        if frame.is_none() && connection.forth.is_empty() {
            self.connections.remove(index);
        } else if frame.is_none() {
            return false;
        }
        // What an older connection still brings is dropped with it.
        let newer = |c: &Connection| c.from == from && c.owner == owner && c.id > id;
        if self.connections.iter().any(newer) {
            return true;
        }
        if let Some(Running { side, links }) = &mut self.nodes[from].running {
            match (owner, side, frame) {
                (Owner::Link(link), _, Some(frame)) => links[link].link.handle_frame(frame, now),
                (Owner::Link(link), _, None) => links[link].link.handle_lost(now),
                (Owner::Opening(key), Side::Opening(crank), Some(frame)) => {
                    crank.handle_frame(key, frame, now);
                }
                (Owner::Opening(key), Side::Opening(crank), None) => crank.handle_lost(key),
                _ => {}
            }
        }
        self.pump(from);
        self.try_open(from);
        true
    }
}
