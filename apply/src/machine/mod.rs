//! Room `apply`: the apply machine. Entries go in, in journal order; whole transactions come out, in commit order, with the
//! position they lead to. Without IO: it is told what was read and asked for the next step.
//!
//! Reading begins at `restart`, what is decided at or below `applied` is passed over (ruling 9). Cycles are kept in memory
//! until they are decided; above a bound the largest are let go and read again when they commit. A transaction too large
//! for one step of the store comes in several, each with a mark (ruling 18). Another machine takes out again what was decided
//! behind a fork (`undo/`). Must not know stores or files.

mod change;
mod cycle;
mod ended;
mod entries;
mod give_out;
mod large;
mod meaning;
mod older;
mod output;
mod own_file;
mod segment;
mod skip;
mod step;
mod undo;

pub use ended::EndedFiles;
pub use entries::ApplyMachine;
pub use meaning::{Change, Expect};
pub use older::OlderFormats;
pub use output::{Bounds, Output, Step};
pub(crate) use own_file::is_own_file;
pub use segment::SegmentStart;
pub use skip::{Skip, Skips};
pub use step::{key_text, resolve};
pub use undo::{UndoMachine, UndoOrder, UndoOutput, Undone};
