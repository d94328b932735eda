//! Room `daemon`, a system: what is recovered starts: journals open for deposits, links and apply jobs begin. Must not
//! decide when a journal may open: the opening machine does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Names;
use super::runtime::JournalRuntime;
use super::shared::Shared;
use crate::daemon::crank::{OpeningCrank, OpeningState, Source, begin_confirmation};
use crate::daemon::task::local::LocalRuntime;
use crate::daemon::task::opening;
use crate::entry::Sequence;
use crate::entry::control_entry::OpenReason;
use crate::error::JournalError;
use crate::journal::{Gate, Journal, JournalKind, Recovered, Writer};
use crate::receiver::ChainReader;
use crate::remote::{Confirmation, MemberKey};

/// The directory of a journal.
pub(crate) fn dir_of(reader: &ChainReader) -> PathBuf {
    reader
        .dir()
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

impl Shared {
    /// A journal whose in-sync set is empty opens at once; the others ask first.
    pub(super) async fn begin_opening(
        self: &Arc<Self>,
        crank: OpeningCrank,
    ) -> Option<JournalRuntime> {
        let name = crank.control().name;
        let control = Box::new(crank.control().clone());
        let dir = dir_of(&crank.recovered().reader());
        match crank.state() {
            OpeningState::Ready {
                reason,
                rank_above,
                heard,
            } => {
                let (recovered, _) = crank.finish(self.clock.now());
                let shared = Arc::clone(self);
                let opened = tokio::task::spawn_blocking(move || {
                    shared.open_local(recovered, reason, rank_above, &heard)
                })
                .await;
                let reason = match opened {
                    Ok(Ok(())) => return None,
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                Some(self.broken(name, Some(control), reason, dir))
            }
            OpeningState::Waiting(_) | OpeningState::Adopting | OpeningState::Refused { .. } => {
                tracing::info!(journal = %name, "waits for its in-sync set before it opens");
                Some(JournalRuntime::Opening(opening::start(self, crank)))
            }
        }
    }

    /// Opens a recovered journal for deposits and starts everything that runs for it.
    pub(crate) fn open_local(
        self: &Arc<Self>,
        mut recovered: Recovered,
        reason: OpenReason,
        rank_above: (u64, u64),
        heard: &[(MemberKey, Sequence)],
    ) -> Result<(), JournalError> {
        if let Some(group) = self.groups.of_journal(recovered.control().journal) {
            let lineage = group.look(|at| at.lineage.clone());
            self.remember_earlier(&group, &mut recovered, &lineage, None)?;
        }
        let (journal, writer) = recovered.open_for_deposits(
            reason,
            rank_above,
            Arc::clone(&self.entropy),
            self.clock.wall(),
        )?;
        let (wall, now) = (self.clock.wall(), self.clock.now());
        let confirmation = begin_confirmation(&journal, heard, wall, now);
        self.run_local(journal, writer, confirmation, true);
        Ok(())
    }

    /// Starts everything that runs for an open journal, and lets deposits in, or not yet.
    pub(in crate::daemon) fn run_local(
        self: &Arc<Self>,
        journal: Arc<Journal>,
        writer: Writer,
        confirmation: Confirmation,
        takes_deposits: bool,
    ) {
        let name = journal.name();
        journal.set_names(Arc::new(Names(Arc::downgrade(self))));
        if takes_deposits {
            journal.set_gate(Gate::Open);
        }
        tracing::info!(journal = %name, epoch = %journal.epoch(), at = %journal.tail().marks().written, "open for deposits");
        let local = LocalRuntime::start(self, journal, writer, confirmation);
        let runtime = JournalRuntime::Local(local);
        self.insert(name, runtime.clone());
        if self.endpoint().is_some() {
            self.start_links_of(&runtime);
        }
    }

    pub(super) fn start_links(self: &Arc<Self>) {
        for runtime in self.runtimes() {
            self.start_links_of(&runtime);
        }
    }

    pub(super) fn start_links_of(self: &Arc<Self>, runtime: &JournalRuntime) {
        let (Some(links), Some(source)) = (runtime.link_set(), runtime.source()) else {
            return;
        };
        let control = source.control();
        // A journal that rests feeds nobody: what is to be fetched of it, is asked for.
        if matches!(source, Source::Copy(_)) && control.kind == JournalKind::Local {
            return;
        }
        for record in control.links {
            if links.find((record.rdb, record.target)).is_none() {
                links.start(self, source.clone(), record);
            }
        }
    }

    pub(super) fn start_jobs(&self) {
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        for (store, _) in jobs
            .iter()
            .filter(|(_, record)| record.active && record.stopped.is_none())
        {
            if let Err(reason) = self.jobs.start(*store, false) {
                tracing::info!(%store, reason, "the apply job is not started");
            }
        }
    }
}
