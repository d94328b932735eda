//! Room `daemon`, the cranks: plain calls that carry between `journal` and `remote`, without tasks, sockets or clocks.
//! Production tasks and the simulator turn the same ones. They decide nothing.

mod carry;
mod opening;
mod receive;
mod source;

pub(in crate::daemon) use carry::frames;
pub use carry::{
    Ending, LinkCrank, Wire, begin_confirmation, carry_confirmation, change_attributes,
    seal_and_tell, write_and_tell,
};
pub use opening::{OpeningCrank, OpeningState};
pub use receive::{TargetCrank, greet};
pub use source::Source;
pub(in crate::daemon) use source::member_key;
