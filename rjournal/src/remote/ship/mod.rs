//! Room `remote`: the source's end of one session: greeting, coupling, then one stream of bundles from wherever the target
//! is to the end of the journal and along with it.
//!
//! ```text
//!  Greeting --Welcome--> Searching --heads--> Coupling --Coupled--> Streaming --End/loss--> Ended
//!     \                      \----- purpose Open ------> Heard --adopt--> Adopting --TailEnded--> Heard
//!      \----Refuse--------------------------------------------------------------------------> Ended
//! ```
//!
//! It never sees a bundle's bytes: it orders [`SourceOutput::Ship`] and is told what was shipped. Must not know where
//! bundles are kept.

mod facts;
mod offer;
mod session;
mod stream;

pub use facts::{SessionFacts, ShipLimit, SourceMarks, SourceOutput};
pub use session::SourceSession;
