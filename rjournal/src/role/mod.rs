//! Room `role`: where roles switch, as machines without IO: whose word counts in a recovery group, which history is the
//! group's, when a member may become primary and when the primary must stop being it.
//!
//! In come claims, records and news of members; out come what is to be made durable, whom to ask, and what follows.
//! [`Lineage`] is the list of terms, [`Standing`] what a member must not forget, [`View::chores`] what follows from it, [`Takeover`] the way of a backup to a new
//! term, [`assess`] what that may lose, [`Switch`] the hand-over of a primary that lives. This room must not know files, sockets, clocks, threads or
//! journals; signatures are checked by whoever calls.

mod assess;
mod chores;
mod lineage;
mod place;
mod standing;
mod switch;
mod takeover;

pub use assess::{Assessment, CopySays, Doubt, assess, to_be_heard};
pub use chores::{Chore, Held, OwnJournal, View};
pub use lineage::{Lineage, LineageError, Segment};
pub use place::Placed;
pub use standing::{Heard, Standing, Stop};
pub use switch::{NotReady, Switch, SwitchFacts, SwitchMarks, SwitchStep, ready};
pub use takeover::{MemberTip, Takeover, TakeoverFacts, TakeoverStep, tip_of};
