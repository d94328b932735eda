//! Package `cli`, orphans: an archive is read through the daemon, twice: for what its transactions need to be shown - formats,
//! in-sync sets, entries below the fork - and then for the transactions. Must not print.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rjournal::Client;
use rjournal::daemon::command::entries::{DisplayEntries, DisplayedEntry};
use rjournal::daemon::command::orphan::ListOrphans;
use rjournal::daemon::{ArchiveFollowed, CommandError, ErrorKind, Followed};
use rjournal::entry::control_entry::{Member, SetChange};
use rjournal::entry::record::Format;
use rjournal::entry::{EntryView, Kind, ObjectId, QualifiedName, SealedBundle, Sequence};
use rjournal::journal::Orphan;

use super::class::Classes;
use super::transaction::{Collector, Entry, Transaction};
use crate::commands::Context;
use crate::error::CliError;
use crate::objects::Objects;

/// Entries asked for at once, and bytes of each; longer ones are asked for alone.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 64 * 1024;
/// The first stretch that is looked through for the in-sync set at the fork; each further one is twice as long.
const STRETCH: u64 = 4096;
/// How many requests are made for that.
const LOOKS_MAX: u32 = 24;

/// An archive that is read.
pub(crate) struct Archive<'a> {
    context: &'a Context<'a>,
    client: &'a Client,
    pub(crate) journal: QualifiedName,
    pub(crate) orphan: Orphan,
    pub(crate) objects: Objects<'a>,
    pub(crate) classes: Classes,
    /// Cycles that go on behind the fork and began at or below it.
    begun_before: BTreeSet<Sequence>,
}

impl<'a> Archive<'a> {
    /// Finds an archive, and reads it for what its transactions need.
    pub(crate) async fn open(
        context: &'a Context<'a>,
        client: &'a Client,
        journal: QualifiedName,
        number: u64,
    ) -> Result<Self, CliError> {
        let orphan = find(client, journal, number).await?;
        let mut archive = Self {
            context,
            client,
            journal,
            objects: Objects::load(client, journal).await?,
            classes: Classes::default(),
            begun_before: BTreeSet::new(),
            orphan,
        };
        archive.survey().await?;
        Ok(archive)
    }

    async fn survey(&mut self) -> Result<(), CliError> {
        let fork = self.orphan.fork.sequence;
        let (mut sets, mut needed) = (Vec::new(), BTreeSet::new());
        let mut feed = self.follow().await?;
        while let Followed::Bundle(bundle) = feed.next().await? {
            for view in behind(&bundle, fork) {
                match view.kind {
                    Kind::IN_SYNC_SET => {
                        let change = SetChange::decode(view.payload.bytes()).ok();
                        sets.extend(change.map(|change| (view.sequence, change)));
                    }
                    kind if matches!(kind.code(), 'D' | 'F') => {
                        if let Ok(format) = Format::decode(view.payload.bytes()) {
                            self.objects.put(view.object, format);
                        }
                    }
                    kind if kind.is_record() => drop(needed.insert((view.object, view.format))),
                    _ => {}
                }
                if view.cycle != Sequence::NONE && view.cycle <= fork {
                    self.begun_before.insert(view.cycle);
                }
            }
        }
        let unknown =
            |(object, version): &(ObjectId, u32)| self.objects.format(*object, *version).is_none();
        if needed.iter().any(unknown) || !self.begun_before.is_empty() {
            self.objects.look_through().await?;
        }
        self.classes = Classes::new(self.set_at_fork().await?);
        for (sequence, change) in sets {
            self.classes.push(sequence, change);
        }
        Ok(())
    }

    async fn follow(&self) -> Result<rjournal::daemon::Follower, CliError> {
        let wanted = ArchiveFollowed {
            journal: self.journal,
            number: self.orphan.number,
            after: self.orphan.fork.sequence,
            upto: None,
        };
        Ok(Client::follow_archive(&self.context.data, wanted).await?)
    }

    /// The in-sync set in force at the fork; nothing where it was not found.
    async fn set_at_fork(&self) -> Result<Option<Vec<Member>>, CliError> {
        let mut upto = self.orphan.fork.sequence;
        let mut stretch = STRETCH;
        for _ in 0..LOOKS_MAX {
            if upto == Sequence::NONE {
                // Nobody ever joined.
                return Ok(Some(Vec::new()));
            }
            let from = Sequence::new(upto.get().saturating_sub(stretch).saturating_add(1));
            let wanted = DisplayEntries {
                newest: true,
                codes: "J".to_owned(),
                ..self.wanted(from, upto)
            };
            let found = self.client.run(wanted).await?;
            if let Some(set) = found.entries.iter().rev().find_map(set_of) {
                return Ok(Some(set.members));
            }
            if found.oldest > Sequence::FIRST && from <= found.oldest {
                return Ok(None);
            }
            upto = from.before();
            stretch = stretch.saturating_mul(2);
        }
        Ok(None)
    }

    fn wanted(&self, from: Sequence, to: Sequence) -> DisplayEntries {
        DisplayEntries {
            journal: self.journal,
            from,
            to: Some(to),
            count: ENTRIES,
            newest: false,
            codes: String::new(),
            object: None,
            cycle: None,
            from_time: None,
            to_time: None,
            unconfirmed: true,
            payload_bytes: ENTRY_BYTES,
        }
    }

    /// Hands over the transactions, in the order of their decisions, and then those about which nothing was decided.
    pub(crate) async fn each<W>(&self, mut work: W) -> Result<(), CliError>
    where
        W: AsyncFnMut(Transaction) -> Result<ControlFlow<()>, CliError>,
    {
        let fork = self.orphan.fork.sequence;
        let mut collector = Collector::default();
        for cycle in &self.begun_before {
            self.read_before(*cycle, &mut collector).await?;
        }
        let mut feed = self.follow().await?;
        while let Followed::Bundle(bundle) = feed.next().await? {
            let epoch = bundle.header().epoch;
            for view in behind(&bundle, fork) {
                if let Some(transaction) = collector.take(&Entry::of_view(&view, epoch))?
                    && work(transaction).await?.is_break()
                {
                    return Ok(());
                }
            }
        }
        for transaction in collector.finish() {
            if work(transaction).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Entries of a cycle at or below the fork.
    async fn read_before(
        &self,
        cycle: Sequence,
        collector: &mut Collector,
    ) -> Result<(), CliError> {
        let fork = self.orphan.fork.sequence;
        let mut from = cycle;
        loop {
            let wanted = DisplayEntries {
                cycle: Some(cycle),
                ..self.wanted(from, fork)
            };
            let found = self.client.run(wanted).await?;
            for entry in found.entries {
                let entry = self.whole(entry).await?;
                // Nothing is decided at or below the fork that goes on behind it.
                drop(collector.take(&Entry::of_displayed(entry))?);
            }
            match found.next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// The entry with all its data.
    async fn whole(&self, entry: DisplayedEntry) -> Result<DisplayedEntry, CliError> {
        let bytes = usize::try_from(entry.payload_length).unwrap_or(usize::MAX);
        if entry.payload.len() == bytes {
            return Ok(entry);
        }
        let wanted = DisplayEntries {
            payload_bytes: bytes,
            ..self.wanted(entry.sequence, entry.sequence)
        };
        let found = self.client.run(wanted).await?.entries.into_iter().next();
        Ok(found.unwrap_or(entry))
    }
}

/// The entries of a bundle behind the fork; every one parses, the bundle was checked.
fn behind(bundle: &SealedBundle, fork: Sequence) -> impl Iterator<Item = EntryView<'_>> {
    let views = bundle.entries().flatten();
    views.filter(move |view| view.sequence > fork)
}

fn set_of(entry: &DisplayedEntry) -> Option<SetChange> {
    (entry.kind == Kind::IN_SYNC_SET)
        .then(|| SetChange::decode(&entry.payload).ok())
        .flatten()
}

async fn find(client: &Client, journal: QualifiedName, number: u64) -> Result<Orphan, CliError> {
    let request = ListOrphans {
        journal: Some(journal),
    };
    let found = client.run(request).await?.journals.into_iter().next();
    let (orphans, unreadable) =
        found.map_or_else(Default::default, |found| (found.orphans, found.unreadable));
    if let Some(orphan) = orphans.into_iter().find(|orphan| orphan.number == number) {
        return Ok(orphan);
    }
    let named = format!("orphan{number:06}.json");
    if let Some(why) = unreadable.into_iter().find(|why| why.contains(&named)) {
        return Err(CliError(CommandError::new(
            ErrorKind::Damaged,
            "RJN1002",
            why,
        )));
    }
    let missing = CommandError::not_found("orphan archive", format!("{number} of {journal}"));
    Err(CliError(missing.help(format!(
        "rjournal orphans list --jrn {journal} lists them"
    ))))
}
