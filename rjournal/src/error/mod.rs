//! Public errors, one enum per door, each variant carrying facts, never a prepared text. Open to all rooms; must not
//! know any of them but `entry`.

mod deposit;
mod journal;
mod link;
mod receiver;
mod system;

use std::io;

pub use deposit::DepositError;
pub use journal::{JournalError, RebuildError};
pub use link::LinkError;
pub use receiver::ReceiverError;
pub use system::SystemError;

/// Whether an error only says that the medium has no room.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
