//! Package `tests`: the ledger: every deposit, and what it was answered. What was answered must be true at the end.

use std::collections::BTreeMap;

use rjournal::entry::Sequence;
use rjournal::journal::{AckClass, Answer, Ticket};

/// One deposit as its client sees it.
#[derive(Debug)]
pub struct Deposit {
    /// Its number, also its payload.
    pub id: u64,
    ticket: Option<Ticket>,
    /// The answer, once there is one.
    pub answer: Option<Answer>,
}

/// All deposits of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    deposits: Vec<Deposit>,
    pending: Vec<usize>,
}

impl Ledger {
    /// A deposit was taken.
    pub fn taken(&mut self, id: u64, ticket: Ticket) {
        self.pending.push(self.deposits.len());
        self.deposits.push(Deposit {
            id,
            ticket: Some(ticket),
            answer: None,
        });
    }

    /// A deposit was refused at once.
    pub fn refused(&mut self, id: u64) {
        let answer = Some(Answer::Refused {
            sequence: Sequence::NONE,
        });
        self.deposits.push(Deposit {
            id,
            ticket: None,
            answer,
        });
    }

    /// Clients look for their answers.
    pub fn look(&mut self) {
        let deposits = &mut self.deposits;
        self.pending.retain(|index| {
            let deposit = &mut deposits[*index];
            deposit.answer = deposit.ticket.as_ref().and_then(Ticket::now);
            deposit.answer.is_none()
        });
    }

    /// The source died: who has no answer will never get one.
    pub fn source_died(&mut self) {
        self.look();
        self.pending.clear();
        for deposit in &mut self.deposits {
            deposit.ticket = None;
        }
    }

    /// How many deposits still wait.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// All deposits.
    pub fn deposits(&self) -> &[Deposit] {
        &self.deposits
    }

    /// Deposits that landed, by sequence: id, class, and the entry that set the set.
    pub fn landed(&self) -> BTreeMap<u64, (u64, AckClass, Sequence)> {
        let landed = self
            .deposits
            .iter()
            .filter_map(|deposit| match deposit.answer {
                Some(Answer::Landed {
                    sequence,
                    class,
                    set,
                }) => Some((sequence.get(), (deposit.id, class, set))),
                _ => None,
            });
        landed.collect()
    }
}
