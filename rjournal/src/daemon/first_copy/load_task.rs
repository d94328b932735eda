//! Room `daemon`, the first copy: the task of one load: it asks a partner for a save, fetches it into files beside the store, over
//! broken lines and restarts of either system, and waits until the journal here has come as far as the save. Restoring it is
//! the command's. Must not know what proves a piece: room `remote` does.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::lent::HASH_BYTES;
use super::load::lock;
use super::part::{self, Part};
use super::record::LoadRecord;
use super::standing::{FetchedSave, LoadPhase, LoadStanding};
use crate::daemon::command::remote_journal::refused_by;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::crank::Source;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{JournalId, Name, QualifiedName, SaveFacts, SaveId};
use crate::error::is_no_room;
use crate::remote::{
    FetchWants, PIECE_BYTES, PartnerReply, PartnerRequest, SaveAnswer, SaveAsk, SaveFetch,
    SaveRequest,
};

/// How often a partner that is not ready is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A line that broke is tried again after this long, doubling.
const AGAIN_MIN: Duration = Duration::from_millis(250);
/// ... up to this.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// A partner that cannot be reached for so long is given up; what was fetched is kept.
const AWAY_MAX: Duration = Duration::from_mins(10);
/// Pieces between two times what was fetched is made durable.
const PIECES_PER_SYNC: u64 = 64;

/// Why a load does not go on as it was.
#[derive(Debug)]
pub(super) enum Halt {
    /// The line broke, or the partner is away: the same again, in a while.
    Away(CommandError),
    /// The partner is not ready: ask again in a moment.
    NotYet,
    /// What was begun can no longer be had: begin with another save.
    Anew,
    /// It ends.
    Failed(CommandError),
}

impl From<CommandError> for Halt {
    fn from(error: CommandError) -> Self {
        match error.kind {
            ErrorKind::Unreachable | ErrorKind::TimedOut => Self::Away(error),
            _ => Self::Failed(error),
        }
    }
}

/// One load, from the first question to a save that can be restored.
pub(super) struct LoadTask {
    pub(super) shared: Arc<Shared>,
    store: Name,
    pub(super) journal: QualifiedName,
    kind: String,
    pub(super) load: LoadRecord,
    standing: Arc<Mutex<LoadStanding>>,
    /// What is here of the save, proven once.
    begun: Option<Arc<Begun>>,
}

/// A save of which something may be here.
struct Begun {
    part: Part,
    fetch: Mutex<SaveFetch>,
}

impl LoadTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        (store, journal, kind): (Name, QualifiedName, String),
        load: LoadRecord,
        standing: Arc<Mutex<LoadStanding>>,
    ) -> Self {
        Self {
            shared,
            store,
            journal,
            kind,
            load,
            standing,
            begun: None,
        }
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut LoadStanding)) {
        change(&mut lock(&self.standing));
    }

    pub(super) async fn run(mut self) {
        let mut wait = AGAIN_MIN;
        let mut heard = self.shared.clock.now();
        let mut answered = false;
        let outcome = loop {
            match self.go_on(&mut answered).await {
                Ok(fetched) => break Ok(fetched),
                Err(Halt::Failed(error)) => break Err(error),
                Err(Halt::Anew) => {
                    (self.load.save, self.begun) = (None, None);
                    (wait, heard) = (AGAIN_MIN, self.shared.clock.now());
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(Halt::NotYet) => {
                    (wait, heard) = (AGAIN_MIN, self.shared.clock.now());
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(Halt::Away(error)) => {
                    // A partner that was never there is told at once; a line that broke is waited for.
                    if std::mem::take(&mut answered) {
                        (wait, heard) = (AGAIN_MIN, self.shared.clock.now());
                    } else if self.lock_standing().save.is_none()
                        || self.shared.clock.now().since(heard) >= AWAY_MAX
                    {
                        break Err(error);
                    }
                    self.tell(|standing| standing.note = Some(error.text));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MAX);
                }
            }
        };
        self.tell(|standing| {
            standing.note = None;
            match outcome {
                Ok(fetched) => {
                    standing.phase = LoadPhase::Fetched;
                    standing.fetched = Some(fetched);
                }
                Err(error) => {
                    standing.phase = LoadPhase::Failed;
                    standing.failed = Some(error);
                }
            }
        });
    }

    fn lock_standing(&self) -> MutexGuard<'_, LoadStanding> {
        lock(&self.standing)
    }

    /// Goes on where it was. `answered` is set when the partner was heard.
    async fn go_on(&mut self, answered: &mut bool) -> Result<FetchedSave, Halt> {
        let journal = self.source()?.id();
        let save = self.promised(journal, answered).await?;
        let disk = Arc::clone(&self.shared.disk);
        let store = self.store;
        let taken = blocking(move || part::taken(&*disk, store, &save));
        let file = if let Some(file) = taken.await? {
            file
        } else {
            self.fetch(journal, save, answered).await?;
            part::part_path(store)
        };
        self.wait_for_journal(save).await?;
        Ok(FetchedSave {
            file: file.display().to_string(),
            save,
            kept: self.lock_standing().kept,
            kind: self.kind.clone(),
            start: self.load.start,
        })
    }

    pub(super) fn runtime(&self) -> Result<JournalRuntime, Halt> {
        Ok(self.shared.require_journal(self.journal)?)
    }

    pub(super) fn source(&self) -> Result<Source, Halt> {
        let not_open = || {
            CommandError::refused("RJN4010", format!("journal {} is not open", self.journal))
                .help("WRKJRNA says why")
        };
        Ok(self.runtime()?.source().ok_or_else(not_open)?)
    }

    async fn ask(&self, journal: JournalId, ask: SaveAsk) -> Result<SaveAnswer, Halt> {
        let request = PartnerRequest::Save(SaveRequest {
            journal,
            store: self.store,
            ask,
        });
        let reply = self.shared.ask_partner(self.load.rdb, request).await?;
        self.answered(reply)
    }

    /// What was answered, where it is an answer at all.
    fn answered(&self, reply: PartnerReply) -> Result<SaveAnswer, Halt> {
        match reply {
            PartnerReply::Save(SaveAnswer::NotYet { text, done, total }) => {
                self.tell(|standing| {
                    standing.note = Some(text);
                    if standing.phase == LoadPhase::Asking {
                        (standing.done, standing.total) = (done, total);
                    }
                });
                Err(Halt::NotYet)
            }
            PartnerReply::Save(SaveAnswer::Gone { text }) => {
                self.tell(|standing| standing.note = Some(text));
                Err(Halt::Anew)
            }
            PartnerReply::Save(answer) => Ok(answer),
            PartnerReply::Refused(refusal) => {
                Err(Halt::Failed(refused_by(self.load.rdb, &refusal)))
            }
            _ => Err(self.lied("it gave another answer than was asked for")),
        }
    }

    fn lied(&self, what: impl std::fmt::Display) -> Halt {
        let text = format!(
            "what {} sent is not the save it promised: {what}",
            self.load.rdb
        );
        Halt::Failed(
            CommandError::new(ErrorKind::Damaged, "RJN5025", text)
                .help("nothing of it was kept; look at that system, then give the command again"),
        )
    }

    /// The save the partner promises. From now on receivers are kept here, too, from where its job will read on.
    async fn promised(
        &mut self,
        journal: JournalId,
        answered: &mut bool,
    ) -> Result<SaveFacts, Halt> {
        let source = self.source()?;
        self.tell(|standing| standing.phase = LoadPhase::Asking);
        let had: Option<SaveId> = self.load.save.map(|save| save.save);
        let ask = SaveAsk::Wanted {
            after: source.reader().oldest().sequence,
            begun: had,
        };
        let answer = self.ask(journal, ask).await;
        *answered |= !matches!(answer, Err(Halt::Away(_)));
        let SaveAnswer::Promised(save) = answer? else {
            return Err(self.lied("it gave another answer than was asked for"));
        };
        let _retiring = self.shared.retiring.lock().await;
        if source.reader().oldest().sequence > save.restart {
            return Err(Halt::Anew);
        }
        self.load.save = Some(save);
        let (store, load) = (self.store, self.load.clone());
        let rdb = load.rdb;
        let gone = || CommandError::not_found("store", store);
        self.shared.update_catalog(|catalog| {
            catalog.jobs.get_mut(&store).ok_or_else(gone)?.load = Some(load);
            Ok(())
        })?;
        if had != Some(save.save) {
            let text = format!(
                "a save of {} bytes is fetched from {rdb}, with everything up to entry {}",
                save.bytes, save.applied
            );
            let about = format!("store {store}");
            self.shared
                .post_about("RJN5026", Severity::Info, &about, text);
        }
        self.tell(|standing| {
            standing.note = None;
            standing.save = Some(save);
        });
        Ok(save)
    }

    async fn fetch(
        &mut self,
        journal: JournalId,
        save: SaveFacts,
        answered: &mut bool,
    ) -> Result<(), Halt> {
        let begun = match self.begun.clone() {
            Some(begun) if lock(&begun.fetch).facts().save == save.save => begun,
            _ => {
                let begun = self.begin(journal, save).await?;
                self.begun = Some(Arc::clone(&begun));
                begun
            }
        };
        self.require_room(&begun)?;
        loop {
            let (wants, here) = {
                let mut fetch = lock(&begun.fetch);
                (fetch.poll_wants(), fetch.bytes_here())
            };
            let FetchWants::Pieces { first, count } = wants else {
                break;
            };
            self.tell(|standing| {
                standing.phase = LoadPhase::Fetching;
                (standing.done, standing.total) = (here, save.bytes - HASH_BYTES);
            });
            self.fetch_pieces(journal, &begun, (first, count), answered)
                .await?;
        }
        blocking(move || begun.part.finish(&save)).await
    }

    /// Opens what is here of a save, gets the hashes of its pieces, and proves what was fetched before.
    async fn begin(&self, journal: JournalId, save: SaveFacts) -> Result<Arc<Begun>, Halt> {
        let mut fetch = SaveFetch::new(save).map_err(|lie| self.lied(lie))?;
        let (disk, store) = (Arc::clone(&self.shared.disk), self.store);
        let opened = blocking(move || {
            let part = Part::open(&disk, store, &mut fetch)?;
            Ok((part, fetch))
        });
        let (part, mut fetch) = opened.await?;
        while let FetchWants::Hashes { first } = fetch.poll_wants() {
            let save = save.save;
            let ask = SaveAsk::Hashes { save, first };
            let SaveAnswer::Hashes { hashes } = self.ask(journal, ask).await? else {
                return Err(self.lied("it sent no hashes"));
            };
            let taken = fetch.handle_hashes(&hashes);
            taken.map_err(|lie| self.lied(lie))?;
        }
        let begun = Arc::new(Begun {
            part,
            fetch: Mutex::new(fetch),
        });
        self.prove_kept(&begun).await?;
        Ok(begun)
    }

    /// What was fetched before is read and proven again; nothing is taken on trust from this disk either.
    async fn prove_kept(&self, begun: &Arc<Begun>) -> Result<(), Halt> {
        let keeping = Arc::clone(begun);
        let length = blocking(move || {
            let fetch = lock(&keeping.fetch);
            keeping
                .part
                .keep_hashes(fetch.hashes().unwrap_or_default())?;
            let length = keeping.part.length()?;
            Ok(length.min(fetch.facts().bytes - HASH_BYTES))
        });
        let length = length.await?;
        self.tell(|standing| {
            if length > 0 {
                standing.phase = LoadPhase::Checking;
            }
            (standing.done, standing.total) = (0, length);
        });
        for piece in 0..length.div_ceil(PIECE_BYTES) {
            let proving = Arc::clone(begun);
            let proven = move || proving.part.prove(&mut lock(&proving.fetch), piece);
            blocking(proven).await?;
            self.tell(|standing| standing.done = ((piece + 1) * PIECE_BYTES).min(length));
        }
        let kept = lock(&begun.fetch).bytes_here();
        self.tell(|standing| standing.kept = kept);
        Ok(())
    }

    /// That there is room for what is missing, before hours are spent on it.
    fn require_room(&self, begun: &Begun) -> Result<(), Halt> {
        let missing = lock(&begun.fetch).bytes_missing();
        match self.shared.disk.free_bytes() {
            Ok(free) if free < missing => {
                let text = format!(
                    "no room for the save: {missing} bytes are still to be fetched, and {free} are free in {}",
                    self.shared.data_path().display()
                );
                Err(Halt::Failed(full(text)))
            }
            _ => Ok(()),
        }
    }

    async fn fetch_pieces(
        &self,
        journal: JournalId,
        begun: &Arc<Begun>,
        (first, count): (u64, u32),
        answered: &mut bool,
    ) -> Result<(), Halt> {
        let save = lock(&begun.fetch).facts().save;
        let request = PartnerRequest::Save(SaveRequest {
            journal,
            store: self.store,
            ask: SaveAsk::Pieces { save, first, count },
        });
        let asked = self.shared.ask_for_pieces(self.load.rdb, request, count);
        let (reply, mut pieces) = asked.await?;
        let SaveAnswer::Pieces { count: sent } = self.answered(reply)? else {
            return Err(self.lied("it sent no pieces"));
        };
        if sent == 0 || sent > count {
            return Err(self.lied(format!("it sent {sent} pieces instead of {count}")));
        }
        self.tell(|standing| standing.note = None);
        let mut piece = first;
        while let Some(body) = pieces.next().await? {
            let (taking, at) = (Arc::clone(begun), piece);
            let taken = blocking(move || {
                let mut fetch = lock(&taking.fetch);
                if let Err(lie) = fetch.handle_piece(at, &body) {
                    return Ok(Err(lie));
                }
                // Where it cannot be written the load ends, and what is here is proven anew.
                taking.part.write(at, &body)?;
                if (at + 1).is_multiple_of(PIECES_PER_SYNC) {
                    taking.part.sync()?;
                }
                Ok(Ok(fetch.bytes_here()))
            });
            let done = taken.await?.map_err(|lie| self.lied(lie))?;
            *answered = true;
            piece += 1;
            self.tell(|standing| standing.done = done);
        }
        Ok(())
    }
}

fn full(text: String) -> CommandError {
    CommandError::new(ErrorKind::Full, "RJN5029", text)
        .help("make room and give the command again; what was fetched is kept")
}

/// Work on the disk, on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Halt> {
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if is_no_room(&error) => {
            Err(Halt::Failed(full(format!("no room for the save: {error}"))))
        }
        Ok(Err(error)) => {
            let text = format!("the save cannot be kept: {error}");
            Err(Halt::Failed(
                CommandError::new(ErrorKind::Internal, "RJN5029", text)
                    .help("look at the disk, then give the command again"),
            ))
        }
        Err(error) => Err(Halt::Failed(CommandError::new(
            ErrorKind::Internal,
            "RJN1003",
            error.to_string(),
        ))),
    }
}
