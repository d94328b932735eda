//! Room `job`: a store save in the making, on a thread of its own while the job goes on. A store that cannot keep its
//! snapshot for so long gives it up; the save is then made once more while nothing is applied. Must not know when saves are
//! wanted.

use std::path::PathBuf;
use std::sync::Arc;

use rjournal::daemon::{Clock, SystemClock};
use tokio::sync::oneshot;

use crate::error::DatabaseError;
use crate::store::{SaveInfo, StoreError, StoreReader, save};

/// Who waits for a save.
pub(super) type Asker = oneshot::Sender<Result<SaveInfo, DatabaseError>>;

/// A save in the making.
#[derive(Debug)]
pub(super) struct Saving {
    pub(super) path: PathBuf,
    /// Those who asked; none for a save the job wants itself.
    pub(super) askers: Vec<Asker>,
    /// Nothing is applied meanwhile.
    pub(super) alone: bool,
    done: oneshot::Receiver<Result<SaveInfo, StoreError>>,
}

impl Saving {
    /// Begins a save of what the store holds now.
    pub(super) fn begin(
        path: PathBuf,
        reader: &Arc<dyn StoreReader>,
        askers: Vec<Asker>,
        alone: bool,
    ) -> Self {
        let (send, done) = oneshot::channel();
        let (reader, target) = (Arc::clone(reader), path.clone());
        tokio::task::spawn_blocking(move || {
            let saved = reader.snapshot().and_then(|mut snapshot| {
                save(
                    &target,
                    &mut *snapshot,
                    SystemClock::start().wall(),
                    &mut |_| (),
                )
            });
            // Nobody waits any more when the job ended.
            drop(send.send(saved));
        });
        Self {
            path,
            askers,
            alone,
            done,
        }
    }

    /// Waits until it is done.
    ///
    /// Cancel safe: yes.
    pub(super) async fn ended(&mut self) -> Result<SaveInfo, StoreError> {
        let gone = |_| StoreError::Backend {
            path: self.path.display().to_string(),
            reason: "the save was given up".to_owned(),
            transient: true,
        };
        (&mut self.done).await.map_err(gone)?
    }

    /// Whether it is worth making once more while nothing is applied.
    pub(super) fn again_alone(&self, error: &StoreError) -> bool {
        error.is_transient() && !self.alone
    }
}
