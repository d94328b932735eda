//! Room `daemon`, recovery groups: what carries out what room `role` judges: members tell each other where they stand, a claim
//! is made durable and fences every journal of the group, a journal that is not this system's to write rests like a copy, and
//! opens again when it is.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `file` | the standing of this member, durable |
//! | `runtime` | one group, from outside |
//! | `news` | what is told to other members, and taken in from them |
//! | `settle` | journals are made to be what the standing says: open, resting, complete |
//! | `history` | what those who read a group's history are told of this member |
//! | `feed` | one member fetches from another what it lacks |
//! | `keys` | deposit keys that landed in the journals of others |
//! | `open` | a term is opened; a journal goes to rest |
//! | `hook` | the operator's command is run before and after each step |
//! | `takeover`, `switch` | the two ways to a new term |
//! | `collect` | all members are asked at once, and how long each is waited for |
//! | `join` | a group is made, changed, and ends |
//! | `abandoned` | an operator gives up what is confirmed here and in no term |
//! | `answer` | what others are answered |
//! | `task` | all of it, every few seconds and whenever something happened |

mod abandoned;
mod answer;
mod collect;
mod feed;
mod file;
mod history;
mod hook;
mod join;
mod keys;
mod news;
mod open;
mod runtime;
mod settle;
mod switch;
mod takeover;
mod task;

pub(crate) use collect::Patience;
pub(crate) use hook::RoleHooks;
pub(crate) use join::{NewGroup, NewMember};
pub(crate) use runtime::{GroupRuntime, Groups};
pub(crate) use switch::SwitchOrder;
pub use switch::SwitchReport;
pub(crate) use takeover::TakeoverOrder;
pub use takeover::{TakeoverReport, TakeoverView};
