//! Two or three systems without role switch, one test per situation of the catalogue of failures (the number stands above
//! each test): disks in memory, a clock turned by hand, a line that is cut by name.

mod cascade;
mod catchup;
mod confirmation;
mod coupling;
mod damage;
mod deposit;
mod failed_disk;
mod frames;
mod guarantee;
mod identity;
mod link;
mod policies;
mod receivers;
