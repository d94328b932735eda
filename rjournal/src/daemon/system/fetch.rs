//! Room `daemon`, a system: what a damaged receiver lacks is fetched from partners, one answer after the other, into a file
//! beside it. Whether bytes are the ones that stood here is decided in room `receiver`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::repair::internal;
use super::shared::Shared;
use crate::daemon::command::CommandError;
use crate::daemon::command::repair::Supply;
use crate::entry::{JournalId, RdbName, ReceiverId, SealedBundle, Sequence};
use crate::error::ReceiverError;
use crate::receiver::{Damaged, FileDamage, Fill, Patch};
use crate::remote::{Frame, PartnerReply, PartnerRequest};

/// A receiver of which everything that it lacks is at hand.
pub(super) struct Ready {
    pub(super) damaged: Damaged,
    pub(super) patch: Arc<Patch>,
    filled: Vec<(u64, u64)>,
}

impl Ready {
    pub(super) const fn receiver(&self) -> ReceiverId {
        self.damaged.expected.record.receiver
    }

    pub(super) fn complete(&self) -> Result<(), ReceiverError> {
        self.patch.complete(&self.damaged, &self.filled)
    }
}

impl Shared {
    /// Asks every partner for everything a receiver lacks, without keeping it. Says whether somebody has all of it.
    pub(super) async fn ask_everybody(
        self: &Arc<Self>,
        (journal, partners): (JournalId, &[RdbName]),
        damaged: &Damaged,
        supply: &mut Vec<Supply>,
    ) -> Result<bool, CommandError> {
        let mut supplied = false;
        for rdb in partners {
            let mut fill = Fill::new(damaged.expected.record.receiver, &damaged.gaps);
            let refusal = match self.fetch_header(*rdb, journal, damaged, None).await? {
                Ok(()) => self.fetch_gaps(*rdb, journal, &mut fill, None).await?,
                Err(refusal) => Err(refusal),
            };
            supplied |= refusal.is_ok();
            supply.push(Supply {
                receiver: damaged.expected.record.name,
                rdb: *rdb,
                refusal: refusal.err(),
            });
        }
        Ok(supplied)
    }

    /// Fetches what a receiver lacks into a file of its own, from one partner after the other. Gives the damage back where
    /// none has it.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        (journal, partners): (JournalId, &[RdbName]),
        dir: &Path,
        damaged: Damaged,
        supply: &mut Vec<Supply>,
    ) -> Result<Result<Ready, Damaged>, CommandError> {
        let (shared, dir, copy) = (Arc::clone(self), dir.to_path_buf(), damaged.clone());
        let patch = tokio::task::spawn_blocking(move || Patch::begin(&shared.disk, &dir, &copy))
            .await
            .map_err(internal)??;
        let patch = Arc::new(patch);
        let mut header = false;
        let mut fill = Fill::new(damaged.expected.record.receiver, &damaged.gaps);
        for rdb in partners {
            // A gap another partner could not close is begun again; what it closed stays closed.
            fill.begin_again();
            let refusal = if header {
                Ok(())
            } else {
                self.fetch_header(*rdb, journal, &damaged, Some(&patch))
                    .await?
            };
            header |= refusal.is_ok();
            let gaps = self
                .fetch_gaps(*rdb, journal, &mut fill, Some(&patch))
                .await?;
            supply.push(Supply {
                receiver: damaged.expected.record.name,
                rdb: *rdb,
                refusal: refusal.and(gaps).err(),
            });
            if header && let Some(filled) = fill.filled() {
                let filled = filled.to_vec();
                return Ok(Ok(Ready {
                    damaged,
                    patch,
                    filled,
                }));
            }
        }
        Ok(Err(damaged))
    }

    /// The header of a receiver, where it is damaged.
    async fn fetch_header(
        self: &Arc<Self>,
        rdb: RdbName,
        journal: JournalId,
        damaged: &Damaged,
        patch: Option<&Arc<Patch>>,
    ) -> Result<Result<(), String>, CommandError> {
        if damaged.file == FileDamage::None {
            return Ok(Ok(()));
        }
        let ask = ask(journal, damaged.expected.record.receiver, None);
        let bytes = match self
            .ask_for_frames(rdb, ask)
            .await
            .map(|frames| frames.into_iter().next())
        {
            Ok(Some(Frame::Header(bytes))) => bytes,
            Ok(_) => return Ok(Err("it sent no receiver header".to_owned())),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let header = match damaged.known.prove(&bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.repairs
            .done
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some(patch) = patch {
            let patch = Arc::clone(patch);
            tokio::task::spawn_blocking(move || patch.put_header(&header))
                .await
                .map_err(internal)??;
        }
        Ok(Ok(()))
    }

    /// The gaps that are still open, from one partner.
    async fn fetch_gaps(
        self: &Arc<Self>,
        rdb: RdbName,
        journal: JournalId,
        fill: &mut Fill<'_>,
        patch: Option<&Arc<Patch>>,
    ) -> Result<Result<(), String>, CommandError> {
        loop {
            let wanted = match fill.wanted() {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(wanted)) => wanted,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let frames = match self
                .ask_for_frames(rdb, ask(journal, fill.receiver(), Some(wanted)))
                .await
            {
                Ok(frames) => frames,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if frames.is_empty() {
                fill.handle_nothing();
                continue;
            }
            let bundles = match prove(fill, frames) {
                Ok(bundles) => bundles,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let bytes: u64 = bundles
                .iter()
                .map(|bundle| u64::from(bundle.header().length))
                .sum();
            self.repairs.done.fetch_add(bytes, Ordering::Relaxed);
            if let Some(patch) = patch {
                let patch = Arc::clone(patch);
                let put = move || bundles.iter().try_for_each(|bundle| patch.put(bundle));
                tokio::task::spawn_blocking(put).await.map_err(internal)??;
            }
        }
    }

    /// Asks for bytes; what comes instead of them, as a text.
    async fn ask_for_frames(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
    ) -> Result<Vec<Frame>, String> {
        match self.ask_for_stored(rdb, request).await {
            Ok((PartnerReply::Stored { .. }, frames)) => Ok(frames),
            Ok((PartnerReply::Refused(refusal), _)) => Err(refusal.text),
            Ok(_) => Err("it gave another answer than was asked for".to_owned()),
            Err(error) => Err(error.text),
        }
    }
}

/// The bundles of an answer, proven as far as the gap they are for goes.
fn prove(fill: &mut Fill<'_>, frames: Vec<Frame>) -> Result<Vec<SealedBundle>, String> {
    let mut bundles = Vec::new();
    for frame in frames {
        let Frame::Bundle(bytes) = frame else {
            return Err("it sent something else than bundles".to_owned());
        };
        let (bundle, closed) = fill
            .handle_bundle(bytes)
            .map_err(|error| error.to_string())?;
        bundles.push(bundle);
        if closed {
            break;
        }
    }
    Ok(bundles)
}

fn ask(
    journal: JournalId,
    receiver: ReceiverId,
    bundles: Option<(Sequence, Sequence)>,
) -> PartnerRequest {
    let (after, upto) = bundles.unwrap_or((Sequence::NONE, Sequence::NONE));
    PartnerRequest::Stored {
        journal,
        receiver,
        header: bundles.is_none(),
        after,
        upto,
    }
}
