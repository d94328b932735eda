//! Package `tests`, groups under seeds: what is under way between members: requests and their answers, each on a connection of its
//! own, and sessions with their frames. Lines can be cut, or swallow what goes one way. Must not look into what it carries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rjournal::remote::{Frame, MemberKey, PartnerReply, PartnerRequest};

/// What a request or an answer is.
#[derive(Debug)]
pub(super) enum Body {
    Request(Box<PartnerRequest>),
    Reply(Box<PartnerReply>),
}

/// A request or an answer under way.
#[derive(Debug)]
pub(super) struct Mail {
    /// Of which question it is.
    pub(super) call: u64,
    pub(super) from: usize,
    pub(super) to: usize,
    /// The life of the other it is meant for: a connection does not outlive a process.
    pub(super) life: u64,
    pub(super) body: Body,
}

/// Who holds the source's end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A link of the journal that member writes.
    Link(usize),
    /// Its opening.
    Opening(MemberKey),
    /// A member that was asked to feed.
    Feed,
    /// Nobody any more: it died.
    Gone,
}

/// A connection that carries a session.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    /// The source's end.
    pub(super) from: usize,
    /// The target's end.
    pub(super) to: usize,
    pub(super) owner: Owner,
    /// Whose journal.
    pub(super) journal: usize,
    pub(super) forth: VecDeque<Frame>,
    pub(super) back: VecDeque<Frame>,
    /// Its first frame arrived.
    pub(super) greeted: bool,
    /// Closed by one end; the other learns it when it has read what is under way.
    pub(super) closed: bool,
    /// The target's end has learnt it.
    pub(super) told: bool,
}

/// A dial that has not been answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) from: usize,
    pub(super) owner: Owner,
}

/// Everything under way.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Pairs of members that cannot reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Directions, from and to, in which nothing arrives and nobody is told.
    pub(super) dark: BTreeSet<(usize, usize)>,
    pub(super) mails: Vec<Mail>,
    /// Questions that wait for an answer.
    pub(super) calls: BTreeMap<u64, Option<Result<PartnerReply, String>>>,
    pub(super) connections: Vec<Connection>,
    pub(super) dials: Vec<Dial>,
    /// Connections on which a member is fed that asked for it.
    pub(super) fetches: BTreeSet<u64>,
    /// The connections of feeds whose answer is under way, by the question.
    pub(super) feeding: BTreeMap<u64, u64>,
    last: u64,
}

impl Line {
    /// A number nobody had yet.
    pub(super) const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Whether nothing can be asked and answered between two members.
    pub(super) fn is_apart(&self, a: usize, b: usize) -> bool {
        self.is_cut(a, b) || self.dark.contains(&(a, b)) || self.dark.contains(&(b, a))
    }

    /// A connection is up; gives its number.
    pub(super) fn connect(&mut self, from: usize, to: usize, owner: Owner, journal: usize) -> u64 {
        let id = self.number();
        self.connections.push(Connection {
            id,
            from,
            to,
            owner,
            journal,
            forth: VecDeque::new(),
            back: VecDeque::new(),
            greeted: false,
            closed: false,
            told: false,
        });
        id
    }

    pub(super) fn connection(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections
            .iter_mut()
            .find(|connection| connection.id == id)
    }

    /// The open connection of an owner that was made last.
    pub(super) fn of(&mut self, from: usize, owner: Owner) -> Option<&mut Connection> {
        let mut newest = self.connections.iter_mut().rev();
        newest.find(|c| c.from == from && c.owner == owner && !c.closed)
    }

    /// The source's end lets go of all connections of an owner, and dials no more.
    pub(super) fn let_go(&mut self, from: usize, owner: Owner) {
        self.dials
            .retain(|dial| dial.from != from || dial.owner != owner);
        for connection in &mut self.connections {
            if connection.from == from && connection.owner == owner {
                connection.closed = true;
            }
        }
    }

    /// An answer comes to nobody: what was to follow on its connection does not.
    pub(super) fn handle_unheard(&mut self, call: u64) {
        let id = self.feeding.remove(&call);
        let connection = id.and_then(|id| self.connection(id));
        if let Some(connection) = connection {
            connection.forth.clear();
            connection.closed = true;
        }
    }

    /// A connection breaks: what is under way is lost.
    pub(super) fn break_connection(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.forth.clear();
            connection.back.clear();
            connection.closed = true;
        }
    }

    /// A member died. What it had sent may still arrive; nothing reaches it any more.
    pub(super) fn handle_death(&mut self, member: usize) {
        self.dials.retain(|dial| dial.from != member);
        for connection in &mut self.connections {
            if connection.from == member {
                connection.owner = Owner::Gone;
                connection.back.clear();
                connection.closed = true;
            }
            if connection.to == member {
                connection.forth.clear();
                connection.back.clear();
                connection.closed = true;
            }
        }
        self.connections
            .retain(|c| !(c.to == member && c.owner == Owner::Gone));
    }
}
