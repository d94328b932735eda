//! Room `daemon`, the tasks: threads and tokio tasks that turn the cranks, one small loop each. They wait, carry and tell;
//! they decide nothing.

pub(super) mod accept;
pub(super) mod copy;
pub(super) mod link;
pub(super) mod local;
pub(super) mod opening;
pub(super) mod scrub;
mod set_news;
pub(super) mod ticker;
pub(super) mod unchanged;
mod under_way;

pub(in crate::daemon) use link::{describe_end, describe_outrun};
pub(in crate::daemon) use set_news::{describe_ordered, names};
