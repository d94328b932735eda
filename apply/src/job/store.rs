//! Room `job`: the job opens its store. One that cannot prove that it is whole is set aside, never repaired, and made anew
//! from the job's last save, or else from the journal's beginning (DESIGN.md section 8). Must not know journals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::apply::JobMessage;
use rjournal::daemon::{Clock, Severity, SystemClock};
use rjournal::entry::Name;

use crate::store::{ReplicaStore, StoreError, StoreKind, StoreOptions, open, restore, set_aside};

/// How long the end of an earlier job of the same store is waited for.
const LOCKED_MAX: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOCKED_EVERY: Duration = Duration::from_millis(100);

/// Where a store stands in a data directory.
pub fn store_path(data: &Path, store: Name) -> PathBuf {
    data.join("stores").join(store.as_str())
}

/// Where the job of a store keeps the save its store can be made anew from.
pub fn save_path(data: &Path, store: Name) -> PathBuf {
    data.join("stores").join(format!("{store}.save"))
}

/// Opens a store for its job. Gives what an operator should read, where something was done.
///
/// Cancel safe: no.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn open_store(
    data: &Path,
    store: Name,
    kind: StoreKind,
    cache_mib: u32,
) -> Result<(Box<dyn ReplicaStore>, Option<JobMessage>), StoreError> {
    let options = store_options(cache_mib);
    let (path, saved) = (store_path(data, store), save_path(data, store));
    std::fs::create_dir_all(data.join("stores")).map_err(|error| backend(&path, &error))?;
    let deadline = tokio::time::Instant::now() + LOCKED_MAX;
    loop {
        let (path, saved) = (path.clone(), saved.clone());
        let opened =
            tokio::task::spawn_blocking(move || open_or_rebuild(&path, &saved, kind, &options))
                .await;
        match opened {
            Ok(Err(error)) if error.is_transient() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOCKED_EVERY).await;
            }
            Ok(outcome) => return outcome,
            Err(error) => return Err(backend(&store_path(data, store), &error)),
        }
    }
}

/// What the configuration of the system says about its stores.
fn store_options(cache_mib: u32) -> StoreOptions {
    StoreOptions {
        cache_bytes: u64::from(cache_mib) * 1024 * 1024,
        ..StoreOptions::default()
    }
}

fn backend(path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Backend {
        path: path.display().to_string(),
        reason: error.to_string(),
        transient: false,
    }
}

fn open_or_rebuild(
    path: &Path,
    saved: &Path,
    kind: StoreKind,
    options: &StoreOptions,
) -> Result<(Box<dyn ReplicaStore>, Option<JobMessage>), StoreError> {
    let mut doubt = None;
    let mut store = match open(kind, path, options) {
        Err(error @ StoreError::Doubtful { .. }) => {
            let now = SystemClock::start().wall();
            let aside = set_aside(
                path,
                &format!("{} microseconds after 1970: {error}", now.as_micros()),
            )?;
            doubt = Some(format!("{error}; it was set aside as {}", aside.display()));
            open(kind, path, options)?
        }
        opened => opened?,
    };
    let mut from = "the journal";
    if store.reader().position()?.is_none() && saved.exists() {
        restore(saved, &mut *store, &mut |_| ())?;
        from = "its last save and the journal";
    }
    let message = doubt.map(|doubt| JobMessage {
        id: "RJN5004".to_owned(),
        severity: Severity::Alarm,
        text: format!("{doubt}; it is made anew from {from}"),
    });
    Ok((store, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_the_cache_of_the_configuration() {
        assert_eq!(store_options(48).cache_bytes, 48 << 20);
    }
}
