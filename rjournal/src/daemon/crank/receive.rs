//! Room `daemon`: carrying between a target's session and its copy. Plain blocking calls on the one thread that writes the
//! copy; the simulator turns the same crank. Must not decide anything.

use super::carry::{frames, message};
use crate::disk::Disk;
use crate::entry::{Moment, Position, SystemId, Timestamp};
use crate::error::{JournalError, ReceiverError};
use crate::journal::{Copy, JournalKind, Orphan};
use crate::remote::{EndReason, Frame, Message, TargetFacts, TargetOutput, TargetSession};

/// Below this much free space a target says so.
const LOW_SPACE_BYTES: u64 = 64 * 1024 * 1024;
/// The tail is served in pieces of about this many bytes: whoever has one asks for the next. A copy may be far ahead of a
/// source that was restored from a backup, and all of that at once would be in this system's memory.
const SERVE_BYTES: usize = 4 * 1024 * 1024;

/// What this side is when a session with `peer` begins, `asked` for by this system or not. What an earlier session left unflushed is flushed first: the
/// position told in the greeting counts as an acknowledgement.
///
/// # Errors
/// [`JournalError`] when it cannot be flushed.
fn target_facts(
    copy: &mut Copy,
    (system, peer, asked): (SystemId, SystemId, bool),
    disk: &dyn Disk,
) -> Result<TargetFacts, JournalError> {
    copy.flush()?;
    let control = copy.shared().control();
    let waits = "what the group's earlier terms left is not complete here yet";
    let (bound_to, stopped) = match (copy.shared().authority(), &control.kind) {
        // This system asked for it.
        (Some(_), _) if asked => (peer, None),
        (Some(authority), _) if !authority.ready => (authority.source, Some(waits.to_owned())),
        (Some(authority), _) => (authority.source, None),
        (None, JournalKind::Remote(source)) => (source.system, None),
        (None, JournalKind::Local) => (SystemId::NONE, None),
    };
    Ok(TargetFacts {
        system,
        journal: control.journal,
        bound_to,
        peer,
        promised: copy.shared().promised(),
        oldest: copy.shared().reader().oldest(),
        tip: copy.tip(),
        tip_epoch: copy.epoch(),
        confirmed: copy.progress().confirmed,
        place: copy.place(),
        free_bytes: disk.free_bytes().unwrap_or(0),
        stopped: stopped.or(control.stopped),
    })
}

/// A newcomer's session, begun with the first thing it says. Only one that [`TargetSession::is_let_in`] takes the place of
/// the session that feeds the copy: whoever is refused disturbs nobody.
///
/// # Errors
/// [`JournalError`] when what an earlier session left cannot be flushed.
pub fn greet(
    copy: &mut Copy,
    who: (SystemId, SystemId, bool),
    disk: &dyn Disk,
    first: Frame,
    now: Moment,
) -> Result<TargetCrank, JournalError> {
    let facts = target_facts(copy, who, disk)?;
    let mut crank = TargetCrank::new(TargetSession::new(facts, now));
    crank.session.handle_frame(first, now);
    Ok(crank)
}

/// A target's session and what it has asked for but not got yet.
#[derive(Debug)]
pub struct TargetCrank {
    /// The machine.
    pub session: TargetSession,
    flush_due: bool,
    /// Entries set aside in this session, for the message about it.
    pub archived: Option<Orphan>,
    /// How it ended.
    pub ended: Option<EndReason>,
    /// Whether it refused its source, rather than was refused by it.
    pub refused: bool,
    /// The source's last word of where it is.
    pub source_at: Option<(crate::entry::Sequence, Timestamp)>,
    failure: Option<JournalError>,
}

impl TargetCrank {
    /// Takes a session that was just begun.
    pub const fn new(session: TargetSession) -> Self {
        Self {
            session,
            flush_due: false,
            archived: None,
            ended: None,
            refused: false,
            source_at: None,
            failure: None,
        }
    }

    /// Does what the session wants on the copy, but for flushing; what is to be sent goes into `out`.
    pub fn turn(&mut self, copy: &mut Copy, wall: Timestamp, out: &mut Vec<Frame>) {
        while let Some(output) = self.session.poll_output() {
            let done = match output {
                TargetOutput::Send(text) => {
                    self.refused |= matches!(text, Message::Refuse(_));
                    out.push(message(text));
                    Ok(())
                }
                TargetOutput::End(reason) => {
                    self.ended = Some(reason);
                    Ok(())
                }
                TargetOutput::Flush => {
                    self.flush_due = true;
                    Ok(())
                }
                TargetOutput::SourceAt { sealed, time } => {
                    self.source_at = Some((sealed, time));
                    Ok(())
                }
                other => self.perform(other, copy, wall, out),
            };
            if let Err(error) = done {
                self.fail(error);
            }
        }
    }

    fn perform(
        &mut self,
        output: TargetOutput,
        copy: &mut Copy,
        wall: Timestamp,
        out: &mut Vec<Frame>,
    ) -> Result<(), JournalError> {
        match output {
            TargetOutput::LookUpHead(sequence) => {
                let head = copy.head_at(sequence)?;
                self.session.handle_head(sequence, head);
            }
            TargetOutput::Promise(epoch) => {
                let hello = self.session.hello();
                let (path, tip) = hello
                    .map(|hello| (hello.path.clone(), hello.tip.sequence))
                    .unwrap_or_default();
                // The group may have promised a higher term since the greeting.
                let promised = copy.shared().promised();
                if epoch.rank() < promised.rank() {
                    self.session.handle_fenced(promised);
                } else {
                    copy.begin_behind(tip)?;
                    copy.promise(epoch, path)?;
                    self.session.handle_promised();
                }
            }
            TargetOutput::Archive(at) => self.archive(copy, at, wall)?,
            TargetOutput::Attach(header) => copy.receive_header(&header, wall)?,
            TargetOutput::Write(bundle) => {
                copy.receive(&bundle)?;
                self.session.handle_received(copy.progress());
            }
            TargetOutput::Confirm(upto) => {
                let progress = copy.confirm(upto)?;
                self.session
                    .handle_flushed(progress, copy.shared().promised());
            }
            TargetOutput::ServeTail(after) => match serve_tail(copy, after, out) {
                Err(ReceiverError::NotHere { .. }) => self.session.handle_not_held(after.sequence),
                served => served?,
            },
            TargetOutput::Send(_)
            | TargetOutput::End(_)
            | TargetOutput::Flush
            | TargetOutput::SourceAt { .. } => {}
        }
        Ok(())
    }

    fn archive(
        &mut self,
        copy: &mut Copy,
        at: Position,
        wall: Timestamp,
    ) -> Result<(), JournalError> {
        // A close record may have confirmed more since the greeting: what is confirmed is never cut (I8).
        let confirmed = copy.progress().confirmed;
        if at.sequence < confirmed {
            self.session.handle_confirmed(confirmed);
            return Ok(());
        }
        let reason = "the source's history goes on otherwise after the fork";
        self.archived = copy.archive_behind(at, reason, wall)?;
        let entries = self.archived.as_ref().map_or(0, |orphan| orphan.entries);
        self.session
            .handle_archived(entries, copy.place(), copy.epoch());
        Ok(())
    }

    /// Flushes if the session asked for it, and acknowledges. Called when nothing more waits to be handled, so that one
    /// flush serves everything that came meanwhile.
    pub fn flush(
        &mut self,
        copy: &mut Copy,
        disk: &dyn Disk,
        wall: Timestamp,
        out: &mut Vec<Frame>,
    ) {
        if !std::mem::take(&mut self.flush_due) || self.ended.is_some() {
            return;
        }
        match copy.flush() {
            Ok(progress) => {
                self.session
                    .handle_space(disk.free_bytes().is_ok_and(|free| free < LOW_SPACE_BYTES));
                self.session
                    .handle_flushed(progress, copy.shared().promised());
            }
            Err(error) => self.fail(error),
        }
        self.turn(copy, wall, out);
    }

    fn fail(&mut self, error: JournalError) {
        self.session.handle_failed(error.is_disk_full());
        self.failure.get_or_insert(error);
    }

    /// What went wrong on the copy, once.
    pub fn take_failure(&mut self) -> Option<JournalError> {
        self.failure.take()
    }
}

fn serve_tail(copy: &Copy, after: Position, out: &mut Vec<Frame>) -> Result<(), ReceiverError> {
    let tip = copy.tip();
    let reader = copy.shared().reader();
    let bundles = reader.bundles_after(after.sequence, tip.sequence, SERVE_BYTES)?;
    let ends = match bundles.last() {
        Some(last) if last.header.last() < tip.sequence => {
            let sequence = last.header.last();
            let head = last.head_at(sequence)?;
            head.map_or(tip, |head| Position { sequence, head })
        }
        _ => tip,
    };
    out.extend(frames(bundles));
    out.push(message(Message::TailEnded { tip: ends }));
    Ok(())
}
