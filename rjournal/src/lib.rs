//! rjournal: remote journals for ordinary machines.
//!
//! One entry walks one way through this house, and every step has one verb:
//!
//! ```text
//! deposit -> seal (into a bundle) -> write => ship -> receive -> confirm -> apply
//! ```
//!
//! | room | what happens there |
//! | --- | --- |
//! | [`entry`] | what flows: pure values and the one encoding |

pub mod daemon;
pub mod disk;
pub mod entry;
pub mod error;
pub mod journal;
pub mod link;
pub mod receiver;
pub mod remote;
