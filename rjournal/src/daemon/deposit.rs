//! Room `daemon`: depositing from async code: a busy journal is waited for, not polled. Must not decide anything.

use crate::daemon::clock::Clock;
use crate::entry::Draft;
use crate::error::DepositError;
use crate::journal::{Journal, Ticket};

/// Deposits entries that are never torn, waiting while the journal has no room in its open bundle.
///
/// Cancel safe: yes, nothing is deposited unless the ticket is returned.
///
/// # Errors
/// [`DepositError`], never `Busy`.
pub(super) async fn deposit_unit(
    journal: &Journal,
    drafts: &[Draft<'_>],
    clock: &dyn Clock,
) -> Result<Ticket, DepositError> {
    loop {
        match journal.deposit_unit(drafts, clock.wall()) {
            Err(DepositError::Busy) => {}
            other => return other,
        }
        let room = journal.room();
        match journal.deposit_unit(drafts, clock.wall()) {
            Err(DepositError::Busy) => room.await,
            other => return other,
        }
    }
}
