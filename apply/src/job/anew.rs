//! Room `job`: a store that cannot be brought into its journal's history in place: it is looked whether what is here is enough to
//! make it anew, so that nothing needs to be copied from a partner (failures.md PRO-8; DESIGN.md section 8). It is set aside, not
//! deleted, and only once that is known. Must not know how it is made.

use std::path::Path;

use rjournal::daemon::{Clock, SystemClock};
use rjournal::disk::{Disk, OsDisk};
use rjournal::entry::Name;

use super::beginning::check_place;
use super::port::Port;
use super::store::{save_path, store_path};
use crate::error::{ApplyError, MadeFrom};
use crate::store::{StoreError, read_header, set_aside};

/// Why the job of a store ends: an error that making the store anew mends is told as [`ApplyError::Anew`], where that can be done.
pub(super) async fn judge(port: &Port, save: Option<&Path>, error: ApplyError) -> ApplyError {
    let (true, Some(save)) = (is_mended(&error), save) else {
        return error;
    };
    match made_from(port, save).await {
        Ok(Some(from)) => ApplyError::Anew {
            reason: Box::new(error),
            from,
        },
        Ok(None) => error,
        // It is asked again when the job is started again.
        Err(unknown) => unknown,
    }
}

const fn is_mended(error: &ApplyError) -> bool {
    matches!(
        error,
        ApplyError::UndoNotPossible { .. } | ApplyError::Abandoned { .. }
    )
}

/// What is here to make a store from: its save, if that is in the history, and all entries behind it; or all there ever were.
async fn made_from(port: &Port, save: &Path) -> Result<Option<MadeFrom>, ApplyError> {
    if let Ok(info) = read_header(save) {
        match check_place(port, Some(info.position)).await {
            Ok(facts) if !facts.abandoned => return Ok(Some(MadeFrom::Save)),
            Err(error) if error.is_transient() => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    match check_place(port, None).await {
        Ok(_) => Ok(Some(MadeFrom::Journal)),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Sets aside the store of a job that ended with [`ApplyError::Anew`], and its save where that covers nothing any more: whoever
/// opens the store next finds none, and makes it. Gives what an operator should read.
///
/// # Errors
/// [`StoreError`]; it can be done again.
pub(crate) fn let_make(
    data: &Path,
    store: Name,
    reason: &ApplyError,
    from: MadeFrom,
) -> Result<String, StoreError> {
    let (path, save) = (store_path(data, store), save_path(data, store));
    let now = SystemClock::start().wall().as_micros();
    let mut words = String::new();
    // First the save: a store without one is made from the journal.
    if from == MadeFrom::Journal && save.exists() {
        let old = save.with_extension("save-abandoned");
        let disk = OsDisk::new(save.parent().unwrap_or(Path::new(".")));
        let names = save.file_name().zip(old.file_name());
        if let Some((save, old)) = names {
            disk.durable_rename(Path::new(save), Path::new(old))
                .map_err(|source| StoreError::io("could not be set aside", &path, source))?;
        }
        words = format!(", its save as {}", old.display());
    }
    let aside = set_aside(&path, &format!("{now} microseconds after 1970: {reason}"))?;
    Ok(format!(
        "{reason}. It was set aside as {}{words}, and is made anew from {from}",
        aside.display()
    ))
}
