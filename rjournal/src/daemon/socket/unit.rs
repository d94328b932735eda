//! Room `daemon`, the control socket: deposits that stand in one bundle or not at all, until the last of them is here. Must not
//! deposit.

use bytes::Bytes;

use super::frame::{DEPOSIT_FIXED, read_deposit};
use crate::entry::codec::{self, BUNDLE_BYTES_MAX, BUNDLE_ENTRIES_MAX};
use crate::error::{DepositError, LinkError};

/// Deposits of one unit.
#[derive(Debug, Default)]
pub(super) struct Unit {
    frames: Vec<Bytes>,
    /// What all of them need in a bundle.
    bytes: usize,
}

impl Unit {
    /// Takes the next one; says whether more belong to it.
    ///
    /// # Errors
    /// [`LinkError::Malformed`] when it cannot be read, or more come than a bundle ever has.
    pub(super) fn take(&mut self, body: Bytes) -> Result<bool, LinkError> {
        let frame = read_deposit(&body)?;
        let continues = frame.continues;
        self.bytes = self
            .bytes
            .saturating_add(codec::entry_bytes_max(&frame.draft));
        // Whatever follows, it fits into no bundle any more. What is said of a deposit before its payload tells which cycle
        // misses it; the payloads would be in memory until the client thinks of an end.
        let kept = match body.get(..DEPOSIT_FIXED) {
            Some(head) if self.bytes > BUNDLE_BYTES_MAX => Bytes::copy_from_slice(head),
            _ => body,
        };
        self.frames.push(kept);
        if continues && self.frames.len() > BUNDLE_ENTRIES_MAX as usize {
            return Err(LinkError::Malformed {
                reason: "a unit without end".to_owned(),
            });
        }
        Ok(continues)
    }

    /// Its deposits; those that came when it was too large already are without their payload.
    pub(super) fn frames(&self) -> &[Bytes] {
        &self.frames
    }

    /// Why it is not deposited, if it cannot be.
    pub(super) fn refused(&self) -> Option<DepositError> {
        (self.bytes > BUNDLE_BYTES_MAX).then_some(DepositError::TooLarge {
            bytes: self.bytes as u64,
            bytes_max: BUNDLE_BYTES_MAX as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::daemon::socket::frame::{
        BODY_BYTES_MAX, ControlFrame, Want, put_deposit, take_frame,
    };
    use crate::entry::{Draft, Kind, Sequence};

    fn body(payload: &[u8], continues: bool) -> Bytes {
        let draft = Draft {
            cycle: Sequence::new(7),
            ..Draft::new(Kind::USER, payload)
        };
        let mut out = BytesMut::new();
        put_deposit(&mut out, 1, Want::Answer, continues, &draft);
        match take_frame(&mut out, BODY_BYTES_MAX) {
            Ok(Some(ControlFrame::Deposit(body))) => body,
            other => panic!("not a deposit: {other:?}"),
        }
    }

    fn continues(unit: &mut Unit, body: Bytes) -> bool {
        unit.take(body).expect("a deposit")
    }

    /// A client that never says the last of them once took 256 GiB.
    #[test]
    fn what_fits_into_no_bundle_is_not_kept_and_is_refused_at_its_end() {
        let payload = vec![1; 15 * 1024 * 1024];
        let mut unit = Unit::default();
        for _ in 0..200 {
            assert!(continues(&mut unit, body(&payload, true)));
            let held: usize = unit.frames().iter().map(Bytes::len).sum();
            assert!(held <= BUNDLE_BYTES_MAX + 200 * DEPOSIT_FIXED, "{held}");
        }
        assert!(!continues(&mut unit, body(b"the last", false)));
        assert!(matches!(
            unit.refused(),
            Some(DepositError::TooLarge { .. })
        ));
        // Which cycle misses them is still known.
        for frame in unit.frames() {
            let draft = read_deposit(frame).expect("a deposit").draft;
            assert_eq!(draft.cycle, Sequence::new(7));
        }
    }

    #[test]
    fn a_unit_that_fits_is_kept_as_it_came() {
        let mut unit = Unit::default();
        let (first, last) = (body(b"first", true), body(b"last", false));
        assert!(continues(&mut unit, first.clone()));
        assert!(!continues(&mut unit, last.clone()));
        assert_eq!(unit.frames(), [first, last]);
        assert!(unit.refused().is_none());
    }

    #[test]
    fn a_unit_of_more_deposits_than_a_bundle_has_is_a_breach() {
        let mut unit = Unit::default();
        let one = body(b"", true);
        for _ in 0..BUNDLE_ENTRIES_MAX {
            assert!(continues(&mut unit, one.clone()));
        }
        assert!(unit.take(one).is_err());
    }
}
