//! Room `remote`: confirmation: the in-sync set of one local journal, and which answers an acknowledgement releases.
//!
//! The set in force at an entry is the one of the last `J IS` entry at or before it. An entry is released
//! 1. when it is flushed here and every member of its set has it (class SYNC, or RECEIVED where a member was asked for no
//!    more; LOCAL where the set is empty), or
//! 2. when a later change that shrank the set is flushed here and at every remaining member (ruling 12): SYNC by the
//!    members that remain, LOCAL when none does.
//!
//! Every change of the set is ordered as an entry ([`ConfirmOutput::ChangeSet`]) and counts from its number on.
//!
//! Under policy block or reject a takeover of a member takes the last such entry it has for a promise: nothing was answered
//! without it (ruling 13). So nothing that breaks it counts before the member has the entry that says so on its disk:
//! 1. a looser policy is in force when it is flushed here and at every member (`guarantee`);
//! 2. nothing is answered on a set an operator made smaller before who left has it too;
//! 3. an operator may give a member up that cannot be told: then the promise to it is void, and he was told so.
//!
//! Must not know sessions: it is told who acknowledged what, who has caught up and who is lost.

mod confirmation;
mod facts;
mod guarantee;
mod release;
mod set;

pub use confirmation::Confirmation;
pub use facts::{Class, ConfirmOutput, Loss, MemberKey};
