//! Room `disk`: a disk in memory that behaves like the worst real one. What was not synced may be lost at a crash, in
//! pieces and in any order, names included; a failed sync loses the pages while reads still show them and the next sync
//! succeeds (measured on ext4 and XFS, failures.md section 1 point 7). Must not know what the files hold.

mod crashed;
mod medium;
mod running;

#[cfg(test)]
mod tests;

pub use crashed::CrashedDisk;
pub use running::MemoryDisk;
