//! Room `remote`, shipping: along with bundles: what is shipped next, what is on its way, what the target knows to be
//! confirmed. Must not see a bundle's bytes.

use std::time::Duration;

use super::facts::SourceOutput;
use super::session::{SourceSession, State};
use crate::entry::{Moment, Sequence};
use crate::remote::accept::Violation;

/// Bytes that may be on their way to one target.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes asked for in one go.
const SHIP_BYTES: usize = 1024 * 1024;
/// A target this little behind may join the in-sync set.
const JOIN_LAG_BYTES: u64 = 2 * 1024 * 1024;
/// A confirmation waits at most this long for a bundle to ride on.
const CONFIRM_WAIT: Duration = Duration::from_millis(1);

impl SourceSession {
    /// The target left the in-sync set while the session goes on: it is to say again when it has caught up.
    pub fn handle_left(&mut self, now: Moment) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.caught_up = false;
            // One that was too slow shows first that it is there again (failures.md SYN-9).
            streaming.caught_up_from = streaming.shipped;
            self.go_on(now);
        }
    }

    pub(super) fn handle_acknowledge(
        &mut self,
        received: Sequence,
        written: Sequence,
        low_space: bool,
        now: Moment,
    ) -> Result<(), Violation> {
        let State::Streaming(streaming) = &mut self.state else {
            return Ok(());
        };
        // A target cannot have what it was never sent (failures.md SYN-14), and never forgets within a session.
        let limit = streaming.shipped;
        if received > limit || written > received {
            return Err(Violation::Claim {
                what: "an acknowledgement of",
                found: received.max(written),
                limit,
            });
        }
        if written < streaming.written || received < streaming.received {
            return Err(Violation::Claim {
                what: "an acknowledgement falling back to",
                found: written,
                limit: streaming.written,
            });
        }
        streaming.received = received;
        streaming.written = written;
        while let Some((_, bytes)) = streaming
            .in_flight
            .front()
            .copied()
            .filter(|(last, _)| *last <= written)
        {
            streaming.in_flight.pop_front();
            streaming.in_flight_bytes -= bytes;
        }
        self.outputs.push_back(SourceOutput::Acknowledged {
            received,
            written,
            low_space,
        });
        self.go_on(now);
        Ok(())
    }

    /// Bundles were handed to the connection: the last entry in them, their bytes, and the highest `durable_upto` they
    /// carry. Nothing (`None`) when there was nothing to ship after all.
    ///
    /// # Panics
    /// When something was shipped again that is on its way: the driver did not do what it was told.
    pub fn handle_shipped(&mut self, shipped: Option<(Sequence, u64, Sequence)>, now: Moment) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        streaming.shipping = false;
        if let Some((last, bytes, durable_upto)) = shipped {
            assert!(
                last > streaming.shipped,
                "shipped {last} after {}",
                streaming.shipped
            );
            streaming.shipped = last;
            streaming.in_flight.push_back((last, bytes));
            streaming.in_flight_bytes += bytes;
            streaming.told = streaming.told.max(durable_upto);
            self.last_sent = now;
        }
        self.go_on(now);
    }

    /// Whatever is due now: ship, tell the confirmation, say that the target has caught up.
    pub(super) fn go_on(&mut self, now: Moment) {
        let marks = self.marks;
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let more = marks.shippable > streaming.shipped;
        if more && !streaming.shipping && streaming.in_flight_bytes < WINDOW_BYTES_MAX {
            streaming.shipping = true;
            self.outputs.push_back(SourceOutput::Ship {
                after: streaming.shipped,
                bytes: SHIP_BYTES,
            });
        }
        let confirmable = marks.confirmable.min(streaming.shipped);
        if confirmable <= streaming.told {
            streaming.confirm_due = None;
        } else if streaming.confirm_due.is_none() {
            streaming.confirm_due = Some(now + CONFIRM_WAIT);
        }
        let close = !more && streaming.in_flight_bytes <= JOIN_LAG_BYTES;
        if !streaming.caught_up && close && streaming.written >= streaming.caught_up_from {
            streaming.caught_up = true;
            self.outputs.push_back(SourceOutput::CaughtUp);
        }
    }
}
