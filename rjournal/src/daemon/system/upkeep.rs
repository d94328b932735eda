//! Room `daemon`, a system: what is looked after from time to time: receivers are retired, positions of targets are kept.
//! Must not decide which receivers may go.

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};

/// Remembered positions are kept durably every so many looks.
const KEEP_EVERY: u32 = 5;

impl Shared {
    /// What needs looking after from time to time.
    pub(crate) async fn look_after(&self) {
        let keep = {
            let mut looks = lock(&self.looks);
            *looks = looks.wrapping_add(1);
            looks.is_multiple_of(KEEP_EVERY)
        };
        self.read_keys().await;
        self.look_after_loans();
        for (name, runtime) in self.runtimes_by_name() {
            self.note_open_cycles(name, &runtime);
            self.retire_receivers(name, &runtime).await;
            Self::trim_receivers(&runtime).await;
            if keep {
                Self::keep_acknowledged(&runtime);
            }
        }
    }

    /// Reads the deposit keys of the journals of groups' other members, on as far as they are confirmed.
    ///
    /// Cancel safe: yes, it is done all the same.
    async fn read_keys(&self) {
        for group in self.groups.all() {
            let Some(shared) = self.arc() else { return };
            let read = move || shared.collect_keys(&group);
            if let Err(error) = tokio::task::spawn_blocking(read).await {
                tracing::warn!(%error, "deposit keys of a recovery group are not read");
            }
        }
    }

    /// Gives the disk back what a detached receiver was prepared with and does not need: one at a time.
    ///
    /// Cancel safe: yes, it is done all the same.
    async fn trim_receivers(runtime: &JournalRuntime) {
        let Some(source) = runtime.source().filter(|s| s.reader().is_trimmable()) else {
            return;
        };
        let name = source.name();
        let trim = move || source.reader().trim(&source.control().receivers);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(trim).await {
            tracing::warn!(journal = %name, %error, "a detached receiver keeps its length");
        }
    }

    /// Remembers durably how far targets were seen to be: what makes a target that went back show (failures.md COU-6).
    pub(super) fn keep_acknowledged(runtime: &JournalRuntime) {
        let Some(source) = runtime.source() else {
            return;
        };
        let mut moved = Vec::new();
        for link in runtime.links() {
            let acknowledged = link.status().acknowledged;
            let record = lock(&link.record).clone();
            if acknowledged != record.acknowledged {
                moved.push((link, record, acknowledged));
            }
        }
        if moved.is_empty() {
            return;
        }
        let kept = source.update(|control| {
            for (_, record, acknowledged) in &moved {
                for link in control
                    .links
                    .iter_mut()
                    .filter(|link| link.rdb == record.rdb && link.target == record.target)
                {
                    link.acknowledged = *acknowledged;
                }
            }
        });
        match kept {
            Ok(()) => {
                for (link, _, acknowledged) in moved {
                    lock(&link.record).acknowledged = acknowledged;
                }
            }
            // They are kept the next time.
            Err(error) => {
                tracing::warn!(journal = %source.name(), %error, "positions of targets cannot be kept");
            }
        }
    }
}
