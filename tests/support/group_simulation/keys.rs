//! Package `tests`, groups under seeds: a journal that opens is told the deposit keys that landed in the others of its group's
//! history, as the daemon does, read from the copies every time. Must not answer deposits.

use rjournal::entry::{Closed, JournalId, SegmentId, Sequence};
use rjournal::journal::{EarlierKeys, Recovered, TermBegins};
use rjournal::receiver::ChainReader;
use rjournal::role::Lineage;

use super::member::Side;

/// Gives a journal what landed in others: in the term that the lineage ends with, or in a new one that closes it.
pub(super) fn remember_earlier(
    sides: &[Side],
    journals: &[JournalId],
    recovered: &mut Recovered,
    lineage: &Lineage,
    closed: Option<Closed>,
) -> Result<(), String> {
    let own = recovered.control().journal;
    let mut keys = EarlierKeys::default();
    let mut index = 0;
    let mut begins = None;
    for segment in lineage.segments() {
        let ends = closed.filter(|closed| closed.term == segment.term);
        let last = segment.last.or(ends.map(|ends| ends.last));
        let after = segment.begins.sequence;
        let Some(last) = last else {
            // Its own term goes on.
            begins = (segment.journal == own).then_some(TermBegins {
                sequence: after,
                index,
            });
            break;
        };
        let side = journals.iter().position(|id| *id == segment.journal);
        let reader = side.and_then(|side| reader_of(&sides[side]));
        if let Some(reader) = reader.filter(|_| segment.journal != own) {
            let id = SegmentId {
                term: segment.term,
                journal: segment.journal,
            };
            let before = index;
            let place = |sequence: Sequence| before + sequence.entries_since(after);
            let upto = last.sequence.min(reader.tip().sequence);
            let mut at = after.max(reader.oldest().sequence.min(upto));
            while at < upto {
                let bundles = reader.bundles_after(at, upto, 1 << 20);
                let bundles = bundles.map_err(|error| error.to_string())?;
                for bundle in &bundles {
                    let read = keys.read(id, bundle, (at, upto), place);
                    read.map_err(|error| error.to_string())?;
                    at = at.max(bundle.header.last().min(upto));
                }
            }
        }
        index += last.sequence.entries_since(after);
    }
    let begins = begins.unwrap_or(TermBegins {
        sequence: recovered.tip().sequence,
        index,
    });
    let window = recovered.control().attributes.key_window;
    keys.forget(begins.index, window);
    recovered.remember(keys, begins);
    Ok(())
}

/// What is flushed of a journal at rest.
fn reader_of(side: &Side) -> Option<&ChainReader> {
    match side {
        Side::Copy(side) => Some(side.copy.shared().reader()),
        Side::Open(_) | Side::Opening(_) | Side::Broken(_) => None,
    }
}
