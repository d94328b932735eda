//! Room `remote`: delivery: one link kept going over many sessions. It is activated and inactivated by an operator, dials,
//! holds a session while there is a connection, and after a loss tries again by itself with growing, jittered waits.
//!
//! ```text
//!             activate                 connected               caught up
//!  *INACTIVE ---------> Dialing ------------------> Session -------------> (in the in-sync set, or *ASYNC)
//!     ^  ^                | ^                          |
//!     |  |         failed | | wait over                | lost, full, silent
//!     |  |                v |                          v
//!     |  |              Waiting <----------------------+
//!     |  +--- drained --- Draining <--- inactivate *CNTRLD (running *ASYNC only; activate leads back)
//!     +------------------ inactivate *IMMED, from anywhere; leave: once the target has flushed what it is to know
//!  *FAILED <--- a refusal or violation that time does not cure; activate begins anew
//! ```
//!
//! States as an operator sees them: IBM i "Journal state and delivery mode". Must not know sockets or tasks.

mod facts;
mod link;

pub use facts::{Activation, LinkEvent, LinkOutput, LinkState, Shown};
pub use link::Link;
