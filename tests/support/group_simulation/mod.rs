//! Package `tests`: recovery groups under seeds: two or three members, each with a disk that can crash, the production journals,
//! copies, sessions, standings and role machines; one thread, virtual time, one seed. What the daemon's group room does with
//! tasks and connections, futures polled by hand do here, in the same order of durable steps.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `world` | everything there is, and time |
//! | `task` | the members' tasks, polled one step at a time |
//! | `line` | requests, answers and frames under way; lines that are cut |
//! | `member` | one member: what is on its disk, and what runs; starts and crashes |
//! | `standing_file`, `proof` | its standing, durable; who said something |
//! | `local`, `session`, `deliver` | its own journal while it is open, links and openings, frames that arrive |
//! | `settle`, `news`, `term`, `feed` | journals are made to be what the standing says |
//! | `keys` | keys of deposits that landed in other journals |
//! | `takeover`, `switch`, `answer`, `gossip` | the ways to a new term, what others are answered, who asks whom |
//! | `clients`, `operators`, `liar` | who uses the group, rightly and wrongly |
//! | `truth`, `check`, `found` | what must hold while it runs, and at its end |
//! | `restore` | a disk that is set back to a snapshot |
//! | `goals` | what runs must come past |
//! | `wrong` | mistakes that the checkers must find |
//! | `mood`, `run`, `heal` | what a seed chooses, one run, and that all comes level at its end |

mod answer;
mod check;
mod clients;
mod deliver;
mod feed;
mod found;
mod goals;
mod gossip;
mod heal;
mod keys;
mod liar;
mod line;
mod local;
mod member;
mod mood;
mod news;
mod operators;
mod proof;
mod restore;
mod run;
mod session;
mod settle;
mod standing_file;
mod switch;
mod takeover;
mod task;
mod term;
mod truth;
mod world;
mod wrong;

pub use goals::{Goal, Goals};
pub use run::{Outcome, run, run_wrong};
pub use truth::Counts;
pub use world::story;
pub use wrong::Wrong;
