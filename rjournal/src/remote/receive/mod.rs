//! Room `remote`, receiving: the target's end of one session: `session` is the machine, `greeting` who may feed a copy, `facts`
//! what it is told and orders.

mod facts;
mod greeting;
mod session;

pub use facts::{TargetFacts, TargetOutput};
pub use session::TargetSession;
