//! Room `journal`: which receivers may go, as one pure function of what is there and who needs it. Must not know disks:
//! it decides, others delete.
//!
//! Rules (IBM i "Deleting journal receivers", failures.md DEL-1, BRD-4, ruling 8): the attached receiver stays; receivers
//! go oldest first; one goes only when every consumer is past it; an apply store is past what its last *save* covers.
//! Above the cap consumers are given up, the furthest behind first, never the disk.

use serde::{Deserialize, Serialize};

use crate::entry::{ReceiverId, Sequence};
use crate::receiver::ReceiverRecord;

/// Somebody who still needs entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who, for people: a link or a store.
    pub who: String,
    /// Entries after this one are needed.
    pub after: Sequence,
    /// Whether it may be given up above the cap; the journal's own needs may not.
    pub expendable: bool,
}

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retirement {
    /// Receivers that may be deleted, oldest first.
    pub deletable: Vec<ReceiverId>,
    /// Holds that must be given up first, because the receivers are above the cap.
    pub given_up: Vec<String>,
    /// Who holds the oldest receiver that stays, and from where.
    pub oldest_hold: Option<Hold>,
}

/// Decides which receivers may go.
///
/// `delete` says whether receivers nobody needs are deleted by themselves; `bytes_max` is the cap, 0 for none.
pub fn retire(
    receivers: &[ReceiverRecord],
    holds: &[Hold],
    delete: bool,
    bytes_max: u64,
) -> Retirement {
    let detached = receivers
        .split_last()
        .map_or(&[][..], |(_, detached)| detached);
    let total: u64 = receivers.iter().map(|receiver| receiver.bytes).sum();
    let mut excess = if bytes_max == 0 {
        0
    } else {
        total.saturating_sub(bytes_max)
    };
    let mut outcome = Retirement::default();
    for receiver in detached {
        let last = receiver
            .last
            .map_or(receiver.before.sequence, |last| last.sequence);
        let blocking: Vec<&Hold> = holds.iter().filter(|hold| hold.after < last).collect();
        let pressed = excess > 0;
        let goes = match (blocking.is_empty(), pressed) {
            (true, _) => delete || pressed,
            (false, pressed) => pressed && blocking.iter().all(|hold| hold.expendable),
        };
        if !goes {
            break;
        }
        for hold in blocking {
            if !outcome.given_up.contains(&hold.who) {
                outcome.given_up.push(hold.who.clone());
            }
        }
        excess = excess.saturating_sub(receiver.bytes);
        outcome.deletable.push(receiver.receiver);
    }
    let oldest = holds
        .iter()
        .filter(|hold| !outcome.given_up.contains(&hold.who))
        .min_by_key(|hold| hold.after);
    outcome.oldest_hold = oldest.cloned();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ChainHead, JournalId, Name, Position, QualifiedName, Timestamp};

    fn receivers() -> Vec<ReceiverRecord> {
        let head = ChainHead::genesis(JournalId::from_bytes([1; 16]));
        let name = QualifiedName::new(Name::new("L").unwrap(), Name::new("R").unwrap());
        let at = |sequence| Position {
            sequence: Sequence::new(sequence),
            head,
        };
        (0..4)
            .map(|n| ReceiverRecord {
                receiver: ReceiverId::from_bytes([n as u8 + 1; 16]),
                name,
                file: n,
                before: at(n * 10),
                last: (n < 3).then(|| at(n * 10 + 10)),
                bytes: 100,
                attached_at: Timestamp::ZERO,
                detached_at: None,
                saved: false,
            })
            .collect()
    }

    fn hold(after: u64, expendable: bool) -> Hold {
        Hold {
            who: format!("H{after}"),
            after: Sequence::new(after),
            expendable,
        }
    }

    #[test]
    fn nothing_goes_unless_asked_for() {
        assert!(retire(&receivers(), &[], false, 0).deletable.is_empty());
        assert_eq!(retire(&receivers(), &[], true, 0).deletable.len(), 3);
    }

    #[test]
    fn a_receiver_somebody_needs_stays_and_with_it_all_younger_ones() {
        let outcome = retire(&receivers(), &[hold(12, true), hold(35, true)], true, 0);
        assert_eq!(outcome.deletable.len(), 1);
        assert_eq!(outcome.oldest_hold, Some(hold(12, true)));
    }

    #[test]
    fn above_the_cap_the_one_furthest_behind_is_given_up_and_named() {
        let outcome = retire(&receivers(), &[hold(5, true), hold(35, true)], false, 350);
        assert_eq!(
            (outcome.deletable.len(), outcome.given_up),
            (1, vec!["H5".to_owned()])
        );
    }

    #[test]
    fn a_hold_that_is_not_expendable_keeps_receivers_even_above_the_cap() {
        let outcome = retire(&receivers(), &[hold(5, false)], true, 100);
        assert!(outcome.deletable.is_empty() && outcome.given_up.is_empty());
    }
}
