//! Room `daemon`: the corridor. It carries a sealed bundle one way and a position back, turns the cranks of the machines,
//! and decides nothing: who may couple, what an acknowledgement releases, when a receiver may go is decided in the rooms
//! it connects. It is the only room that reads clocks and draws random numbers.

mod catalog;
mod catalog_rebuild;
mod clock;
pub mod command;
mod config;
pub mod crank;
mod data_dir;
mod deposit;
mod embedded;
mod first_copy;
mod group;
mod health;
mod jobs;
mod messages;
mod reading;
mod socket;
mod system;
mod task;
mod user;

pub use catalog::{Catalog, FileRecord, JobRecord, Library, Partner, SkipOrder, Stopped};
pub use catalog_rebuild::{RebuiltCatalog, rebuild_catalog};
pub use clock::{Clock, SystemClock, SystemEntropy};
pub use command::{Command, CommandError, ErrorKind};
pub use config::{CONFIG_FILE, Config};
pub use data_dir::{DataDir, SystemRecord, check_data, read_config};
pub use embedded::{SystemFollower, SystemJournal};
pub use first_copy::{FetchedSave, LoadPhase, LoadRecord, LoadStanding, LoanRecord};
pub use group::{SwitchReport, TakeoverReport, TakeoverView};
pub use jobs::{EXIT_STOPPED, JobProgram, JobState};
pub use messages::{OperatorMessage, Severity};
pub use reading::{Along, JournalFacts, SegmentEnded};
pub use socket::{
    ArchiveFollowed, BackOff, Client, ClientTicket, ControlSocket, Followed, Follower,
    FoundPrimary, GroupClient, GroupDeposit, GroupMembers, JournalClient, Want,
};
pub use system::{System, SystemOptions};
