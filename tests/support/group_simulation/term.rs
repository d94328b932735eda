//! Package `tests`, groups under seeds: the own journal of a member goes to rest while another is primary, and opens with the
//! record of a new term; in the daemon's order. Must not decide who may.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::crank::Source;
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{Closed, Epoch, Position, Proof, TermClaim, TermReason, TermRecord};
use rjournal::error::JournalError;
use rjournal::journal::{Copy, Entropy, Gate, Recovered};
use rjournal::remote::MemberRole;
use rjournal::role::Lineage;

use super::goals::Step;
use super::keys::remember_earlier;
use super::local::{OpenSide, links_of};
use super::member::{Side, dir_of};
use super::proof::sign;
use super::world::Here;
use super::wrong::Wrong;

/// The system that handed over has so long to join before deposits are taken without it.
const JOIN_MAX: Duration = Duration::from_millis(400);

impl Here {
    /// Claims a term: durable, and everything lower fenced here, when this comes back.
    pub(super) async fn claim(&self, term: u64) -> Result<TermClaim, String> {
        let claim = self.signed_claim(term);
        {
            let seat = self.up(|up| up.seat.clone());
            let _seat = seat.hold().await;
            self.pause().await;
            self.world.claimed(claim);
            self.update_claim(|at| {
                at.stopped = None;
                at.handle_claim(self.id(), claim)
            })?;
            if !self.look(|at| at.has_promised(&claim)) {
                return Err("another member has claimed a higher term meanwhile".to_owned());
            }
        }
        self.world.say(self.me, || format!("claimed term {term}"));
        self.pause().await;
        self.rest_if_not_primary().await;
        self.pause().await;
        self.fence();
        self.quiesce_all().await;
        Ok(claim)
    }

    pub(super) fn signed_claim(&self, term: u64) -> TermClaim {
        let mut claim = TermClaim {
            group: self.world.group.id,
            term,
            system: self.id(),
            proof: Proof::NONE,
        };
        claim.proof = sign(self.id(), &claim.signed_bytes());
        claim
    }

    /// Makes what came to the journals at rest durable, and ends the sessions that bring more.
    pub(super) async fn quiesce_all(&self) {
        for journal in 0..self.world.members.len() {
            self.pause().await;
            self.world.quiesce(self.me, journal);
        }
    }

    /// The own journal of a member that is not primary rests.
    pub(super) async fn rest_if_not_primary(&self) {
        if self.world.wrong == Some(Wrong::NeverRests) {
            return;
        }
        let seat = self.up(|up| up.seat.clone());
        let _seat = seat.hold().await;
        self.pause().await;
        let writes = matches!(self.role(), MemberRole::Primary | MemberRole::HandedOver);
        let runs = self.up(|up| matches!(up.sides[self.me], Side::Open(_) | Side::Opening(_)));
        if writes || !runs {
            return;
        }
        self.world.stop_links(self.me);
        self.pause().await;
        self.world.stop_own(self.me);
        self.pause().await;
        let disk = self.world.members[self.me].borrow().shared_disk();
        let standing = self.standing();
        let journal = standing.group.members[self.me].journal;
        let closed = standing.confirmed_end(journal);
        self.up(|up| {
            let rested = Copy::open_own(disk, &dir_of(self.me), closed);
            up.sides[self.me] = match rested {
                Ok(copy) => Side::copy(copy),
                Err(error) => Side::Broken(error.to_string()),
            };
        });
        self.world.look_at_copy(self.me, self.me);
        self.world
            .say(self.me, || format!("rests: {}", self.stands()));
        self.fence();
    }

    /// Opens the term this member has claimed, in its own journal, which rests. What the term before ended with is what is
    /// flushed here of it.
    pub(super) async fn open_term(&self, reason: TermReason) -> Result<TermRecord, String> {
        let seat = self.up(|up| up.seat.clone());
        let _seat = seat.hold().await;
        self.pause().await;
        // What a fetch that was given up still brings would come to the disk behind the end that is written down now.
        self.quiesce_all().await;
        self.require_readable()?;
        let standing = self.standing();
        if standing.role(self.id()) != MemberRole::Claiming {
            return Err("another member has claimed a higher term since".to_owned());
        }
        let tips = self.seen().tips();
        let lineage = standing.lineage.held(|journal| {
            let tip = tips.iter().find(|tip| tip.journal == journal);
            tip.map(|tip| tip.tip.sequence)
        });
        let newest = lineage.newest().copied();
        let closed = newest.and_then(|newest| {
            let tip = tips.iter().find(|tip| tip.journal == newest.journal)?;
            Some(Closed {
                term: newest.term,
                journal: newest.journal,
                last: tip.tip,
            })
        });
        if !self.up(|up| matches!(up.sides[self.me], Side::Copy(_))) {
            return Err("the journal does not rest".to_owned());
        }
        self.begin_step(Some(match reason {
            TermReason::HandedOver => Step::TakingOpens,
            TermReason::TakenBack => Step::TakingBack,
            _ => Step::Opening,
        }));
        self.world.stop_copy(self.me);
        self.pause().await;
        self.open_recovered(standing.promised(), &lineage, closed, reason)
            .await
    }

    async fn open_recovered(
        &self,
        term: u64,
        lineage: &Lineage,
        closed: Option<Closed>,
        reason: TermReason,
    ) -> Result<TermRecord, String> {
        let disk = self.world.members[self.me].borrow().shared_disk();
        let owner = self.world.members[self.me].borrow().owner();
        let entropy: Arc<dyn Entropy> = self.up(|up| Arc::clone(&up.entropy) as _);
        let broken = |here: &Self, error: String| {
            here.up(|up| up.sides[here.me] = Side::Broken(error.clone()));
            Err(error)
        };
        let mut recovered = match Recovered::open(disk, &dir_of(self.me), owner) {
            Ok(recovered) => recovered,
            Err(error) => return broken(self, error.to_string()),
        };
        let remembered = self.up(|up| {
            let journals = self.world.journals();
            remember_earlier(&up.sides, &journals, &mut recovered, lineage, closed)
        });
        if let Err(error) = remembered {
            return broken(self, error);
        }
        let journal_id = recovered.control().journal;
        let kept = Cell::new(None);
        let wall = self.world.wall();
        let refused = |reason: String| JournalError::Term { reason };
        let record = |epoch: Epoch, begins: Position| {
            let mut record = TermRecord {
                group: self.world.group.id,
                term,
                primary: self.id(),
                journal: journal_id,
                begins,
                epoch,
                closed,
                reason,
                opened_at: wall,
                proof: Proof::NONE,
            };
            record.proof = sign(self.id(), &record.signed_bytes());
            let mut with = lineage.clone();
            with.push(record)
                .map_err(|error| refused(error.to_string()))?;
            if self.world.wrong == Some(Wrong::ToldBeforeFlushed) {
                // Said before it is on the disk.
                let with = with.clone();
                self.stand_in_term(with).map_err(refused)?;
                if self.world.per_mille(300) {
                    let disk = &self.world.members[self.me].borrow().disk;
                    disk.die_at_sync(disk.syncs() + 1);
                }
            }
            kept.set(Some((record, with)));
            Ok(record)
        };
        let opened = recovered.open_term((term, 0), &record, entropy, wall);
        let (journal, writer) = match opened {
            Ok(opened) => opened,
            Err(error) => return broken(self, error.to_string()),
        };
        let Some((record, with)) = kept.take() else {
            return broken(self, "no record was made".to_owned());
        };
        let tip = journal.tail().tip();
        self.world
            .sealed(self.me, journal.id(), journal.epoch(), tip);
        self.world.say(self.me, || {
            format!(
                "opened term {term} {reason:?}, closing {:?}",
                closed.map(|closed| (closed.term, closed.last.sequence))
            )
        });
        self.world.opened_term(self.me, &with);
        self.begin_step(Some(Step::Opened));
        self.pause().await;
        // The close record is flushed: the term is this system's.
        if let Err(error) = self.stand_in_term(with) {
            return broken(self, error);
        }
        let inactive = journal.update(|control| {
            for link in &mut control.links {
                link.active = false;
            }
        });
        if let Err(error) = inactive {
            return broken(self, error.to_string());
        }
        // Whoever handed over joins in a moment: until then an answer would be LOCAL for nothing.
        let waits = reason == TermReason::HandedOver && self.look(|at| at.group.sync);
        let open = OpenSide::begin(journal, writer, &[], !waits, (wall, self.now()));
        let source = Source::Local(Arc::clone(&open.journal));
        let jitter = self.world.draw();
        self.up(|up| {
            up.links = links_of(&source, jitter);
            up.sides[self.me] = Side::Open(Box::new(open));
        });
        Ok(record)
    }

    fn stand_in_term(&self, with: Lineage) -> Result<(), String> {
        self.update(|at| at.handle_own_term(with))
    }

    /// Lets deposits in once somebody is in the in-sync set, so that the first answer is as good as the last before the switch
    /// was. Where answers may be LOCAL, nobody is waited for longer than a moment.
    pub(super) async fn open_when_joined(self) {
        let Some(journal) = self.up(|up| Some(Arc::clone(&up.open(self.me)?.journal))) else {
            return;
        };
        let until = self.now() + JOIN_MAX;
        self.wake();
        let degrades = journal.attributes().policy == Policy::Degrade;
        let joined = || {
            self.up(|up| {
                let open = up.open(self.me)?;
                let same = Arc::ptr_eq(&open.journal, &journal);
                (!same || !open.members().is_empty()).then_some(())
            })
        };
        if degrades {
            self.found_before(until, joined).await;
        } else {
            self.found(joined).await;
        }
        journal.set_gate(Gate::Open);
        self.wake();
    }
}
