//! Room `daemon`, the first copy: a store save goes from one system to another while changes flow, so that a new backup, or
//! one that is hopelessly behind, begins at a place its journal still holds. `lend` promises a save and sends it, `load`
//! fetches one; what is to be asked for, and whether what came is true, is decided in room `remote`. Must not know what
//! stands in a save: jobs make them and restore them.

mod lend;
mod lent;
mod load;
mod load_task;
mod load_wait;
mod pace;
mod part;
mod record;
mod standing;

pub(crate) use lend::Lends;
pub(crate) use lent::send_pieces;
pub(crate) use load::Loads;
pub use record::{LoadRecord, LoanRecord};
pub use standing::{FetchedSave, LoadPhase, LoadStanding};
