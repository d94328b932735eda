//! Package `tests`, the cluster: how it stands, for checkers and for messages of tests. Must not change anything.

use rjournal::entry::Sequence;
use rjournal::journal::DeliveryMode;

use super::systems::Cluster;
use crate::node::{Running, Side};

impl Cluster {
    /// Whether the journal is open and every copy has everything, confirmed.
    pub fn is_level(&self) -> bool {
        let Some(open) = self.open() else {
            return false;
        };
        let marks = open.journal.tail().marks();
        let level =
            marks.sealed == marks.written && marks.settled == marks.written && open.batch.is_none();
        let copies = (1..self.nodes.len()).all(|node| {
            self.copy(node).is_some_and(|copy| {
                copy.progress().written == marks.written
                    && copy.progress().confirmed == marks.written
            })
        });
        level && copies && open.journal.intake().last() == marks.sealed
    }

    /// Whether every *SYNC target is in the in-sync set.
    pub fn is_in_sync(&self) -> bool {
        let Some(open) = self.open() else {
            return false;
        };
        let wanted = open
            .journal
            .control()
            .links
            .iter()
            .filter(|link| link.delivery == DeliveryMode::Sync)
            .count();
        let confirmation = open
            .confirmation
            .lock()
            .expect("no panic while it was held");
        confirmation.members().0.len() == wanted
    }

    /// How node 0's journal stands, for messages of tests.
    pub fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match &node.running {
            None => "down".to_owned(),
            Some(Running {
                side: Side::Open(open),
                links,
            }) => {
                let shown: Vec<_> = links.iter().map(|link| link.link.shown()).collect();
                format!(
                    "open {:?} failed {} links {shown:?}",
                    open.journal.tail().marks(),
                    open.failed
                )
            }
            Some(Running {
                side: Side::Opening(crank),
                ..
            }) => format!("opening {:?}", crank.state()),
            Some(Running {
                side:
                    Side::Copy {
                        copy,
                        failed,
                        session,
                    },
                links,
            }) => {
                let shown: Vec<_> = links.iter().map(|link| link.link.shown()).collect();
                let session = session
                    .as_ref()
                    .map(|(id, crank)| (*id, crank.session.is_streaming()));
                format!(
                    "copy {:?} session {session:?} failed {failed:?} links {shown:?}",
                    copy.progress()
                )
            }
            Some(Running {
                side: Side::Refused(text),
                ..
            }) => format!("refused: {text}"),
        });
        let wires = self.connections.iter().map(|c| {
            format!(
                "{} {}->{} {:?} forth {} back {} closed {}",
                c.id,
                c.from,
                c.to,
                c.owner,
                c.forth.len(),
                c.back.len(),
                c.closed
            )
        });
        nodes.chain(wires).collect::<Vec<_>>().join("\n")
    }

    /// The last entry anybody can have: for tests.
    pub fn last(&self) -> Sequence {
        self.open()
            .map_or(Sequence::NONE, |open| open.journal.intake().last())
    }
}
