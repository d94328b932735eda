//! Room `daemon`, a system: one journal of it, whatever it is at the moment: opening, open, a copy or damaged. Must not
//! know how it came to be that.

use std::path::PathBuf;
use std::sync::Arc;

use super::shared::lock;
use crate::daemon::crank::Source;
use crate::daemon::task::copy::CopyRuntime;
use crate::daemon::task::link::{LinkHandle, LinkSet};
use crate::daemon::task::local::LocalRuntime;
use crate::daemon::task::opening::OpeningRuntime;
use crate::entry::JournalId;
use crate::journal::{Attributes, Control, Gate, LinkRecord};
use crate::receiver::ReceiverRecord;

/// A journal that cannot be recovered, or was not.
#[derive(Debug)]
pub(crate) struct Broken {
    /// What is kept about it, where that could be read.
    pub(crate) control: Option<Box<Control>>,
    pub(crate) reason: String,
    /// Where it is on the disk.
    pub(crate) dir: PathBuf,
}

/// A journal, whatever it is at the moment.
#[derive(Debug, Clone)]
pub(crate) enum JournalRuntime {
    Opening(Arc<OpeningRuntime>),
    Local(Arc<LocalRuntime>),
    Copy(Arc<CopyRuntime>),
    Broken(Arc<Broken>),
}

impl JournalRuntime {
    /// Its receiver directory.
    pub(crate) fn records(&self) -> Vec<ReceiverRecord> {
        match self {
            Self::Opening(opening) => opening.reader.records(),
            Self::Local(local) => local.journal.reader().records(),
            Self::Copy(copy) => copy.copy.reader().records(),
            Self::Broken(broken) => broken
                .control
                .as_ref()
                .map_or_else(Vec::new, |control| control.receivers.clone()),
        }
    }

    /// Whether it is the very same one, not one that took its name since.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Opening(one), Self::Opening(two)) => Arc::ptr_eq(one, two),
            (Self::Local(one), Self::Local(two)) => Arc::ptr_eq(one, two),
            (Self::Copy(one), Self::Copy(two)) => Arc::ptr_eq(one, two),
            (Self::Broken(one), Self::Broken(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }

    /// The identity of the journal, where that is known.
    pub(crate) fn id(&self) -> Option<JournalId> {
        match self {
            Self::Opening(opening) => Some(opening.id),
            Self::Local(local) => Some(local.journal.id()),
            Self::Copy(copy) => Some(copy.copy.id()),
            Self::Broken(broken) => Some(broken.control.as_ref()?.journal),
        }
    }

    /// Its attributes.
    pub(crate) fn attributes(&self) -> Option<Attributes> {
        match self {
            Self::Opening(opening) => Some(opening.control.attributes.clone()),
            Self::Local(local) => Some((*local.journal.attributes()).clone()),
            Self::Copy(copy) => Some(copy.copy.control().attributes),
            Self::Broken(broken) => Some(broken.control.as_ref()?.attributes.clone()),
        }
    }

    /// Whether it is open for deposits, or a copy that can be fed.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Copy(_))
    }

    /// Whether its receivers can be deleted: one that stopped is to be looked at as it is.
    pub(crate) fn can_forget(&self) -> bool {
        match self {
            Self::Local(local) => local.journal.gate() != Gate::Poisoned,
            Self::Copy(_) => true,
            Self::Opening(_) | Self::Broken(_) => false,
        }
    }

    /// Its links' set.
    pub(crate) fn link_set(&self) -> Option<&LinkSet> {
        match self {
            Self::Local(local) => Some(&local.links),
            Self::Copy(copy) => Some(&copy.links),
            Self::Opening(_) | Self::Broken(_) => None,
        }
    }

    /// Its links.
    pub(crate) fn links(&self) -> Vec<Arc<LinkHandle>> {
        self.link_set().map(LinkSet::all).unwrap_or_default()
    }

    /// Its remote journals, as they were defined, whether links run or not.
    pub(crate) fn link_records(&self) -> Vec<LinkRecord> {
        match self {
            Self::Opening(opening) => opening.control.links.clone(),
            Self::Broken(broken) => broken
                .control
                .as_ref()
                .map_or_else(Vec::new, |control| control.links.clone()),
            Self::Local(_) | Self::Copy(_) => {
                let links = self.links();
                links
                    .iter()
                    .map(|link| lock(&link.record).clone())
                    .collect()
            }
        }
    }

    /// The journal as a source of links and readers.
    pub(crate) fn source(&self) -> Option<Source> {
        match self {
            Self::Local(local) => Some(Source::Local(Arc::clone(&local.journal))),
            Self::Copy(copy) => Some(Source::Copy(Arc::clone(&copy.copy))),
            Self::Opening(_) | Self::Broken(_) => None,
        }
    }
}
