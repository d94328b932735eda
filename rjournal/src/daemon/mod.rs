//! Room `daemon`: the corridor. It carries a sealed bundle one way and a position back, turns the cranks of the machines,
//! and decides nothing: who may couple, what an acknowledgement releases, when a receiver may go is decided in the rooms
//! it connects. It is the only room that reads clocks and draws random numbers.

mod carry;
mod opening;
mod receive;
mod source;

pub use carry::{LinkCrank, Wire, carry_confirmation, seal_and_tell, write_and_tell};
pub use opening::{OpeningCrank, OpeningState};
pub use receive::{TargetCrank, target_facts};
pub use source::Source;
