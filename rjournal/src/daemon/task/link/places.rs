//! Room `daemon`: places for links that catch up. After a power cut of a whole site every journal is behind at once; all
//! together they would take each other the disk, the wire and the memory (failures.md LNK-11). Must not know what is shipped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::LinkError;
use crate::journal::DeliveryMode;

/// Links of one kind of delivery that catch up at once.
const CATCH_UPS_MAX: usize = 16;
/// A connection waits so long for a place, then it is given up and tried again later. The target waits a little longer
/// for its first word.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A link's place, given back when it has caught up, or ends.
pub(super) type Place = OwnedSemaphorePermit;

/// The places of a system. *SYNC links have their own: deposits may be waiting for them.
#[derive(Debug)]
pub(crate) struct Places {
    sync: Arc<Semaphore>,
    asynchronous: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            sync: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
            asynchronous: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
        }
    }
}

impl Places {
    /// Takes a place, waiting a little for one.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`LinkError::Crowded`] when none came free.
    pub(super) async fn take(&self, delivery: DeliveryMode) -> Result<Place, LinkError> {
        self.take_within(delivery, WAIT_MAX).await
    }

    async fn take_within(
        &self,
        delivery: DeliveryMode,
        wait: Duration,
    ) -> Result<Place, LinkError> {
        let places = match delivery {
            DeliveryMode::Sync => &self.sync,
            DeliveryMode::Async => &self.asynchronous,
        };
        let taken = tokio::time::timeout(wait, Arc::clone(places).acquire_owned()).await;
        match taken {
            Ok(Ok(place)) => Ok(place),
            _ => Err(LinkError::Crowded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_told_so_and_a_place_given_back_is_taken() {
        let places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..CATCH_UPS_MAX {
            taken.push(places.take(DeliveryMode::Async).await.unwrap());
        }
        let refused = places
            .take_within(DeliveryMode::Async, Duration::ZERO)
            .await;
        assert!(matches!(refused, Err(LinkError::Crowded)), "{refused:?}");
        drop(places.take(DeliveryMode::Sync).await.unwrap());
        let (next, ()) = tokio::join!(places.take(DeliveryMode::Async), async {
            taken.pop();
        });
        drop(next.unwrap());
    }
}
