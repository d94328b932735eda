//! Stores and databases of a recovery group over whole systems in this process: the role of primary moves, and jobs, databases and
//! files move with it, without a job ending. Must not know how a role moves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod house;
mod switch;
mod takeover;
