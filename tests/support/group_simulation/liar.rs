//! Package `tests`, groups under seeds: a member that lies: terms and claims that those they speak of never signed, claims of
//! absurd terms under its own name, tails it does not have. Nobody may believe any of it. Must not sign for others.

use std::rc::Rc;

use rjournal::entry::{
    ChainHead, Closed, Position, Proof, Sequence, TERM_STEP_MAX, TermClaim, TermReason, TermRecord,
};
use rjournal::remote::{GroupNews, PartnerRequest, PromiseAsked};

use super::line::{Body, Mail};
use super::world::World;

impl World {
    /// A member tells another something that is not so.
    pub(super) fn lie(self: &Rc<Self>, liar: usize, to: usize) {
        if !self.is_up(liar) || liar == to {
            return;
        }
        self.counts.borrow_mut().lies += 1;
        let here = self.here(liar);
        let mut news = here.group_news();
        let kind = self.below(6);
        let request = match kind {
            0 => {
                news.lineage.push(self.forged(&news));
                PartnerRequest::Group(Box::new(news))
            }
            1 => {
                // A record of its own, changed since it was signed.
                if let Some(record) = news.lineage.last_mut() {
                    record.begins.sequence = Sequence::new(record.begins.sequence.get() + 1);
                }
                PartnerRequest::Group(Box::new(news))
            }
            2 => {
                let other = self.group.members[to].system;
                news.claim = Some(TermClaim {
                    group: self.group.id,
                    term: here.standing().promised() + 1,
                    system: other,
                    proof: Proof::NONE,
                });
                PartnerRequest::Group(Box::new(news))
            }
            3 => {
                news.claim = Some(here.signed_claim(u64::MAX - 1));
                PartnerRequest::Group(Box::new(news))
            }
            4 => {
                let term = here.standing().promised() + TERM_STEP_MAX * 4;
                PartnerRequest::Promise(Box::new(PromiseAsked {
                    claim: here.signed_claim(term),
                    abort: false,
                }))
            }
            _ => {
                for tip in &mut news.tips {
                    tip.tip = Position {
                        sequence: Sequence::new(tip.tip.sequence.get() + 1000),
                        head: ChainHead::from_bytes([9; 32]),
                    };
                }
                PartnerRequest::Group(Box::new(news))
            }
        };
        let mut line = self.line.borrow_mut();
        let call = line.number();
        line.mails.push(Mail {
            call,
            from: liar,
            to,
            life: self.members[to].borrow().life,
            body: Body::Request(Box::new(request)),
        });
    }

    /// A next term of another member, which it never signed.
    fn forged(&self, news: &GroupNews) -> TermRecord {
        let of = self.below(self.members.len());
        let member = &self.group.members[of];
        let newest = news.lineage.last();
        let term = newest.map_or(1, |newest| newest.term + 1);
        let begins = Position {
            sequence: Sequence::NONE,
            head: ChainHead::genesis(member.journal),
        };
        let closed = newest.map(|newest| Closed {
            term: newest.term,
            journal: newest.journal,
            last: Position {
                sequence: Sequence::new(newest.begins.sequence.get() + 2),
                head: ChainHead::from_bytes([3; 32]),
            },
        });
        TermRecord {
            group: self.group.id,
            term,
            primary: member.system,
            journal: member.journal,
            begins,
            epoch: rjournal::entry::Epoch {
                term,
                boot: 1,
                nonce: 1,
            },
            closed,
            reason: TermReason::TakenOver,
            opened_at: self.wall(),
            proof: newest.map_or(Proof::NONE, |newest| newest.proof),
        }
    }
}
