//! Room `journal`: a copy: a remote journal as it rests here. It takes receiver headers and bundles exactly as another
//! system sealed them, flushes, and knows how far its source has confirmed. Must not know the session that brings them.

mod held;
mod open;
mod set_aside;
mod shared;

pub use held::Copy;
pub use shared::{Authority, CopyShared};
