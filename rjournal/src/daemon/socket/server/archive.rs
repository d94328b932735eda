//! Room `daemon`, the control socket: the daemon's end: an orphan archive is sent to whoever follows it: its bundles in
//! order, then the word that this was all. Must not know what is done with them.

use std::sync::Arc;

use super::{Connection, FOLLOW_BYTES, put_bundle, put_server};
use crate::daemon::command::CommandError;
use crate::daemon::reading::JournalFacts;
use crate::daemon::socket::follow::ArchiveFollowed;
use crate::daemon::socket::frame::ServerMessage;
use crate::entry::{GroupId, QualifiedName, Sequence};
use crate::error::LinkError;
use crate::journal::Archive;

impl Connection {
    /// Sends what is wanted of an archive.
    pub(super) async fn follow_archive(
        &mut self,
        id: u64,
        wanted: ArchiveFollowed,
    ) -> Result<(), LinkError> {
        let ArchiveFollowed {
            journal,
            number,
            after,
            upto,
        } = wanted;
        let found = self
            .shared
            .archive_of(journal, number)
            .and_then(|archive| Ok((archive_facts(&archive, journal, after)?, archive)));
        let (archive, result) = match found {
            Ok((facts, archive)) => (Some(archive), Ok(facts)),
            Err(error) => (None, Err(error)),
        };
        put_server(&mut self.output, &ServerMessage::Attached { id, result })?;
        if let Some(archive) = archive
            && let Err(error) = self.send_archive(&archive, after, upto).await?
        {
            put_server(&mut self.output, &ServerMessage::Ended { error })?;
        }
        self.write_out().await
    }

    async fn send_archive(
        &mut self,
        archive: &Arc<Archive>,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Result<(), CommandError>, LinkError> {
        let upto = upto.unwrap_or(Sequence::new(u64::MAX));
        let mut at = after;
        let mut reader = match archive.reader(after) {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error.into())),
        };
        while at < upto {
            let bundles = match reader.next_bundles(FOLLOW_BYTES) {
                Ok(bundles) if bundles.is_empty() => break,
                Ok(bundles) => bundles,
                Err(error) => return Ok(Err(error.into())),
            };
            for bundle in bundles
                .iter()
                .take_while(|bundle| bundle.header.first <= upto)
            {
                put_bundle(&mut self.output, bundle.receiver.receiver, &bundle.bytes);
            }
            at = bundles.last().map_or(upto, |bundle| bundle.header.last());
            self.write_out().await?;
        }
        put_server(&mut self.output, &ServerMessage::Level { upto: at })?;
        Ok(Ok(()))
    }
}

/// What an archive is, told like a journal: it begins behind the fork, and nothing comes to it any more.
pub(in crate::daemon) fn archive_facts(
    archive: &Arc<Archive>,
    name: QualifiedName,
    at: Sequence,
) -> Result<JournalFacts, CommandError> {
    let orphan = archive.orphan();
    Ok(JournalFacts {
        journal: orphan.journal,
        group: GroupId::from(orphan.journal),
        term: orphan.epochs.1.term,
        name,
        local: false,
        epoch: orphan.epochs.1,
        oldest: orphan.fork,
        last: orphan.last.sequence,
        ends: None,
        abandoned: false,
        deposited: Sequence::NONE,
        head: archive.head_at(at)?,
        actor: false,
    })
}
