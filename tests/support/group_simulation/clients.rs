//! Package `tests`, groups under seeds: clients deposit wherever they are let in, each deposit with a payload of its own, and keep
//! what they were answered, by whom, and when. Must not know what follows from an answer.

use std::rc::Rc;

use rjournal::entry::{ClientId, DepositKey, Draft, JournalId, Kind, Sequence};
use rjournal::journal::{AckClass, Answer, Ticket};

use super::goals::Goal;
use super::member::Side;
use super::world::World;

/// One deposit as its client sees it.
#[derive(Clone)]
pub(super) struct Deposit {
    /// Its payload begins with it.
    pub(super) id: u64,
    pub(super) member: usize,
    pub(super) journal: JournalId,
    /// The term of the journal that took it.
    pub(super) term: u64,
    /// When it was made, counted in events.
    pub(super) called: u64,
    /// When it was answered.
    pub(super) returned: u64,
    pub(super) answer: Option<Answer>,
    /// It had landed before, under the same key.
    pub(super) again: bool,
    /// It was made more than once.
    pub(super) is_repeated: bool,
    ticket: Option<Ticket>,
}

impl std::fmt::Debug for Deposit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            id, member, term, ..
        } = self;
        write!(
            f,
            "deposit {id} at member {member} in term {term}, {:?}",
            self.answer
        )
    }
}

/// An answer SYNC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) id: u64,
    pub(super) member: usize,
    pub(super) journal: JournalId,
    pub(super) term: u64,
    pub(super) sequence: Sequence,
}

/// All deposits of a run.
#[derive(Default)]
pub(super) struct Ledger {
    deposits: Vec<Deposit>,
    waiting: Vec<usize>,
    kept: Vec<Kept>,
}

impl Ledger {
    /// Clients look for their answers.
    pub(super) fn look(&mut self, world: &World) {
        let Self {
            deposits,
            waiting,
            kept,
        } = self;
        waiting.retain(|index| {
            let deposit = &mut deposits[*index];
            if world.has_no_power(deposit.member) {
                return true;
            }
            deposit.answer = deposit.ticket.as_ref().and_then(Ticket::now);
            deposit.returned = world.moves();
            if let Some(answer) = &deposit.answer {
                world.say(deposit.member, || {
                    format!("answers {}: {answer:?}", deposit.id)
                });
            }
            if let Some(Answer::Landed {
                sequence,
                class: AckClass::Sync,
                ..
            }) = deposit.answer
                && !deposit.again
            {
                let answer = Kept {
                    id: deposit.id,
                    member: deposit.member,
                    journal: deposit.journal,
                    term: deposit.term,
                    sequence,
                };
                world.truth.borrow_mut().handle_sync(answer);
                kept.push(answer);
            }
            deposit.answer.is_none()
        });
    }

    /// A member died: who has no answer from it will never get one.
    pub(super) fn handle_death(&mut self, member: usize) {
        let deposits = &mut self.deposits;
        self.waiting
            .retain(|index| deposits[*index].member != member);
        for deposit in deposits.iter_mut().filter(|of| of.member == member) {
            deposit.ticket = None;
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn deposits(&self) -> &[Deposit] {
        &self.deposits
    }

    /// Everything answered SYNC.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// How many deposits were answered with a class.
    pub(super) fn answered(&self, wanted: AckClass) -> usize {
        let landed = self.deposits.iter().filter(|deposit| {
            matches!(deposit.answer, Some(Answer::Landed { class, .. }) if class == wanted)
        });
        landed.count()
    }
}

impl World {
    /// A client deposits at a member, if its journal runs there: something new, or (unless it is to be `fresh`) what
    /// it has no answer to once more. Says whether it ran.
    pub(super) fn deposit(self: &Rc<Self>, me: usize, filling: usize, fresh: bool) -> bool {
        let wall = self.wall();
        let mut ledger = self.ledger.borrow_mut();
        let mut id = ledger.deposits.len() as u64;
        let mut member = self.members[me].borrow_mut();
        let Some(up) = &mut member.up else {
            return false;
        };
        let Side::Open(open) = &up.sides[me] else {
            return false;
        };
        let journal = open.journal.id();
        let mut filling = filling;
        let mut key = Self::key_of(id);
        let mut repeated = false;
        if !fresh
            && self.per_mille(100)
            && let Some(again) = ledger.unanswered()
        {
            (id, key, repeated) = (again, Self::key_of(again), true);
        }
        if key.is_some() {
            filling = 0;
        }
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + filling, id as u8);
        let draft = Draft {
            key,
            ..Draft::new(Kind::USER, &payload)
        };
        let taken = open.journal.deposit(&draft, wall);
        let mut deposit = Deposit {
            id,
            member: me,
            journal,
            term: open.journal.epoch().term,
            called: self.moves(),
            returned: self.moves(),
            answer: None,
            again: false,
            is_repeated: repeated,
            ticket: None,
        };
        if let Ok(ticket) = taken {
            deposit.again = ticket.again().is_again();
            if let Some(other) = ticket.again().journal() {
                deposit.journal = other;
                self.reach(Goal::KeyFoundElsewhere);
            }
            deposit.ticket = Some(ticket);
            let index = ledger.deposits.len();
            ledger.waiting.push(index);
        } else {
            let sequence = Sequence::NONE;
            deposit.answer = Some(Answer::Refused { sequence });
        }
        ledger.deposits.push(deposit);
        true
    }

    /// Every third deposit has a key.
    fn key_of(id: u64) -> Option<DepositKey> {
        let client = ClientId::from_bytes([7; 16]);
        id.is_multiple_of(3).then_some(DepositKey {
            client,
            key: id + 1,
        })
    }

    /// Whether a member's disk died under it: nothing it says is heard.
    pub(super) fn has_no_power(&self, me: usize) -> bool {
        let member = self.members[me].try_borrow();
        member.is_ok_and(|member| member.disk.is_dead())
    }
}

impl Ledger {
    /// A deposit under a key that has no answer, if there is one; into whatever journal it was made.
    fn unanswered(&self) -> Option<u64> {
        let recent = self.deposits.iter().rev().take(40);
        let mut open = recent.filter(|deposit| {
            let unknown = matches!(deposit.answer, None | Some(Answer::Unknown { .. }));
            deposit.id.is_multiple_of(3) && unknown
        });
        open.next().map(|deposit| deposit.id)
    }
}
