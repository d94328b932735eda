//! Room `job`: the save a job's store can be made anew from, looked at when the job begins: one made behind a fork covers
//! nothing any more, and another is owed. Must not make it.

use std::path::Path;

use super::port::{Port, Report};
use super::task::saved_place;
use super::way_back::segment_of;
use crate::error::ApplyError;
use crate::store::read_header;

/// Tells the daemon what the job's own save covers, if there is one in the journal's history. Says whether a save is owed:
/// there is one, and it is not.
pub(super) async fn judge(port: &Port, save: Option<&Path>) -> Result<bool, ApplyError> {
    let Some(info) = save.and_then(|save| read_header(save).ok()) else {
        return Ok(false);
    };
    let position = info.position;
    let facts = port
        .facts(Some(segment_of(&position)), position.applied)
        .await?;
    if facts.journal != position.journal {
        return Ok(facts.abandoned);
    }
    // What was deleted is in no doubt: receivers go once a save covers them.
    let deleted = position.applied < facts.oldest.sequence;
    if !deleted && facts.head != Some(position.head) {
        return Ok(true);
    }
    port.report(Report {
        save: Some(info.facts()),
        saved: Some(saved_place(&position)),
        ..Report::default()
    })
    .await?;
    Ok(false)
}
