//! Room `daemon`, the first copy: a promised save as a file: opened, hashed piece by piece, and sent. It stays open while it is
//! asked for, so one that is replaced meanwhile is sent to its end; after a restart it counts only if it is still the one.
//! Must not know who may have it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_bytes::ByteBuf;

use super::lend::{Asker, gone};
use super::record::LoanRecord;
use crate::daemon::catalog::Partner;
use crate::daemon::data_dir::STORES_DIR;
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::daemon::task::accept::refused;
use crate::disk::DiskFile;
use crate::entry::{Moment, Name, RdbName, SaveFacts};
use crate::link::{LinkStream, Wired};
use crate::remote::{
    HASHES_MAX, PIECE_BYTES, PIECES_MAX, PartnerReply, PieceHash, PieceHasher, RefusalCode,
    SaveAnswer, SaveAsk, SaveRequest, piece_bytes, piece_count,
};

/// Bytes of the hash a save ends with.
pub(super) const HASH_BYTES: u64 = 32;
/// A partner that takes no piece for so long is let go.
const SEND_MAX: Duration = Duration::from_mins(1);

/// Where a job keeps its own save, from the data directory.
pub(super) fn save_path(store: Name) -> PathBuf {
    Path::new(STORES_DIR).join(format!("{store}.save"))
}

/// Whether a file ends as this save does, and is as long.
pub(super) fn ends_as(file: &dyn DiskFile, save: &SaveFacts) -> io::Result<bool> {
    if file.length()? != save.bytes || save.bytes <= HASH_BYTES {
        return Ok(false);
    }
    let hash = file.read(HASH_BYTES as usize, save.bytes - HASH_BYTES)?;
    Ok(hash == save.save.as_bytes())
}

/// A save that is open.
#[derive(Debug)]
pub(super) struct Lent {
    file: Arc<dyn DiskFile>,
    /// The hashes of its pieces, once it was read.
    hashes: Option<Arc<Vec<PieceHash>>>,
    /// How far it was read, while it is.
    reading: Option<Arc<AtomicU64>>,
    asked: Moment,
}

impl Lent {
    /// When it was asked for, or read, last.
    pub(super) const fn asked(&self) -> Moment {
        self.asked
    }
}

/// A save that is being read, and how far.
type Reading = (Arc<dyn DiskFile>, Arc<AtomicU64>);

/// Whether a save is ready to be promised.
pub(super) enum Opened {
    /// It is not there, or not the one it was.
    No,
    /// It is being read, so far.
    Reading(u64),
    /// It is.
    Ready,
}

impl Shared {
    /// Opens a save and has it read, unless that is done already.
    pub(super) async fn open_save(&self, store: Name, save: SaveFacts) -> Opened {
        if self.open_file(store, save).await.is_none() {
            return Opened::No;
        }
        let reading = {
            let mut state = self.lends.lock();
            let Some(lent) = state.open.get_mut(&save.save) else {
                return Opened::No;
            };
            if lent.hashes.is_some() {
                return Opened::Ready;
            }
            if let Some(done) = &lent.reading {
                return Opened::Reading(done.load(Ordering::Relaxed));
            }
            let done = Arc::new(AtomicU64::new(0));
            lent.reading = Some(Arc::clone(&done));
            (Arc::clone(&lent.file), done)
        };
        if let Some(shared) = self.arc() {
            self.runtime
                .spawn(async move { shared.read_save(store, save, reading).await });
        }
        Opened::Reading(0)
    }

    /// The file of a save that is the one it was.
    async fn open_file(&self, store: Name, save: SaveFacts) -> Option<Arc<dyn DiskFile>> {
        let now = self.clock.now();
        if let Some(lent) = self.lends.lock().open.get_mut(&save.save) {
            lent.asked = now;
            return Some(Arc::clone(&lent.file));
        }
        let disk = Arc::clone(&self.disk);
        let open = move || -> io::Result<Option<Arc<dyn DiskFile>>> {
            let file = disk.open(&save_path(store))?;
            Ok(ends_as(&*file, &save)?.then_some(file))
        };
        let file = match tokio::task::spawn_blocking(open).await {
            Ok(Ok(file)) => file?,
            Ok(Err(error)) => {
                tracing::warn!(%store, %error, "the save of a store cannot be opened");
                return None;
            }
            Err(_) => return None,
        };
        let mut state = self.lends.lock();
        let lent = state.open.entry(save.save).or_insert_with(|| Lent {
            file,
            hashes: None,
            reading: None,
            asked: now,
        });
        Some(Arc::clone(&lent.file))
    }

    /// Reads a save for the hashes of its pieces. One that is not what it says is never promised.
    async fn read_save(&self, store: Name, save: SaveFacts, reading: Reading) {
        let hashes = match self.hash_pieces(save, reading).await {
            Ok(Some(hashes)) => Ok(hashes),
            Ok(None) => Err("its hash is not that of its bytes".to_owned()),
            // It is opened anew by who asks next.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.lends.lock().open.remove(&save.save);
                return;
            }
            Err(error) => Err(error.to_string()),
        };
        let mut state = self.lends.lock();
        match hashes {
            Ok(hashes) => {
                if let Some(lent) = state.open.get_mut(&save.save) {
                    lent.hashes = Some(Arc::new(hashes));
                    lent.reading = None;
                }
            }
            Err(why) => {
                state.open.remove(&save.save);
                state.damaged.insert(store, save.save);
                drop(state);
                let path = self.data_path().join(save_path(store));
                let text = format!(
                    "its save {} is damaged, and is not sent: {why}. Another one is made when it is asked for",
                    path.display()
                );
                self.post_about("RJN5023", Severity::Alarm, &format!("store {store}"), text);
            }
        }
    }

    /// The hashes of a save's pieces, if they are those of the save; `Interrupted` when the system stops.
    async fn hash_pieces(
        &self,
        save: SaveFacts,
        (file, done): Reading,
    ) -> io::Result<Option<Vec<PieceHash>>> {
        let mut hasher = PieceHasher::new(save.save, save.bytes);
        while let Some((piece, count)) = hasher.next() {
            self.read_turn().await;
            if self.is_stopping() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let file = Arc::clone(&file);
            let read = move || -> io::Result<PieceHasher> {
                let body = file.read(count, piece * PIECE_BYTES)?;
                if body.len() != count {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                hasher.handle_piece(&body);
                Ok(hasher)
            };
            let read = tokio::task::spawn_blocking(read).await;
            hasher = read.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))?;
            done.fetch_add(count as u64, Ordering::Relaxed);
            if let Some(lent) = self.lends.lock().open.get_mut(&save.save) {
                lent.asked = self.clock.now();
            }
        }
        Ok(hasher.finish())
    }

    /// Hashes of the pieces of a promised save.
    pub(super) async fn piece_hashes(&self, loan: &LoanRecord, first: u64) -> PartnerReply {
        let save = loan.save.save;
        match self.open_save(loan.store, loan.save).await {
            Opened::No => return gone(save),
            Opened::Reading(done) => {
                return PartnerReply::Save(SaveAnswer::NotYet {
                    text: format!("{} reads its save of store {}", self.name, loan.store),
                    done,
                    total: loan.save.bytes,
                });
            }
            Opened::Ready => {}
        }
        let hashes = {
            let state = self.lends.lock();
            state.open.get(&save).and_then(|lent| lent.hashes.clone())
        };
        let Some(hashes) = hashes else {
            return gone(save);
        };
        let from = usize::try_from(first).unwrap_or(usize::MAX);
        let rest = hashes.get(from..).unwrap_or_default();
        let sent = rest.get(..rest.len().min(HASHES_MAX)).unwrap_or_default();
        PartnerReply::Save(SaveAnswer::Hashes {
            hashes: ByteBuf::from(sent.concat()),
        })
    }
}

/// Answers a request for pieces: the reply, and the pieces behind it, each read when its turn comes.
///
/// Cancel safe: yes, the connection is closed with it.
pub(crate) async fn send_pieces(
    shared: &Shared,
    (rdb, partner): (RdbName, &Partner),
    request: SaveRequest,
    mut stream: LinkStream,
) {
    let reply = |reply| [Wired::Reply(Box::new(reply))];
    let found = match find_pieces(shared, (rdb, partner), request).await {
        Ok(found) => found,
        Err(refusal) => {
            drop(stream.send(&reply(refusal)).await);
            return stream.finish().await;
        }
    };
    let Ok(_stream) = shared.lends.streams.try_acquire() else {
        let text = format!("{} sends as many saves as it does at once", shared.name);
        let answer = SaveAnswer::NotYet {
            text,
            done: 0,
            total: 0,
        };
        drop(stream.send(&reply(PartnerReply::Save(answer))).await);
        return stream.finish().await;
    };
    let count = found.count;
    let begun = PartnerReply::Save(SaveAnswer::Pieces { count });
    if stream.send(&reply(begun)).await.is_err() {
        return;
    }
    for piece in found.first..found.first + u64::from(count) {
        shared.piece_turn().await;
        let (file, bytes) = (Arc::clone(&found.file), piece_bytes(found.bytes, piece));
        let read = move || file.read(bytes, piece * PIECE_BYTES);
        let body = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                tracing::warn!(%rdb, %error, "a promised save cannot be read");
                return;
            }
            Err(_) => return,
        };
        let frame = [Wired::Piece(Bytes::from(body))];
        let sent = tokio::time::timeout(SEND_MAX, stream.send(&frame)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    stream.finish().await;
}

/// Pieces that were asked for and can be sent.
struct Found {
    file: Arc<dyn DiskFile>,
    /// Of the whole save.
    bytes: u64,
    first: u64,
    count: u32,
}

async fn find_pieces(
    shared: &Shared,
    (rdb, partner): (RdbName, &Partner),
    request: SaveRequest,
) -> Result<Found, PartnerReply> {
    let SaveAsk::Pieces { save, first, count } = request.ask else {
        return Err(shared.save_request(rdb, partner, request).await);
    };
    let tied = shared.tied(rdb, partner, request.journal)?;
    let asker = Asker {
        rdb,
        partner,
        store: request.store,
    };
    shared.note_heard(&asker);
    let loan = shared.loan(&asker, tied.name());
    let loan = loan.filter(|loan| loan.save.save == save);
    let loan = loan.ok_or_else(|| gone(save))?;
    let file = shared.open_file(loan.store, loan.save).await;
    let file = file.ok_or_else(|| gone(save))?;
    let left = piece_count(loan.save.bytes).saturating_sub(first);
    if left == 0 || count == 0 {
        let text = format!("save {save} has no piece {first}");
        return Err(refused(RefusalCode::Protocol, text));
    }
    Ok(Found {
        file,
        bytes: loan.save.bytes,
        first,
        count: u32::try_from(left.min(u64::from(count.min(PIECES_MAX)))).unwrap_or(1),
    })
}
