//! Recovery groups of whole systems, over real QUIC and real files: the stories of failures.md that need a group. Each file is one
//! chapter of it; docs/RELIABILITY.md lists which story shows what.

mod identity;
mod rejoin;
mod restore;
mod roles;
mod several;
mod switch;
mod takeover;
