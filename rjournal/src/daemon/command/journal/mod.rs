//! Room `daemon`: journals: CRTJRN, CHGJRN, DLTJRN, and everything WRKJRNA shows.

mod attributes;
mod change;
mod create;
mod delete;
mod describe;
mod description;
mod find;

pub use attributes::AttributePatch;
pub use change::{ChangeJournal, JournalChanged, OpenChoice, ReceiverChoice};
pub use create::{CreateJournal, JournalCreated};
pub use delete::DeleteJournal;
pub use description::{
    DescribeJournals, JournalDescription, JournalDescriptions, JournalState, LinkDescription,
    Watermarks,
};
