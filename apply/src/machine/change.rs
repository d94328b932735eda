//! Room `apply`, the machine: a record entry becomes the change of a row, with what it expects to find. Must not know whether it
//! counts.

use rjournal::entry::{EntryView, ObjectId, Sequence};

use super::entries::ApplyMachine;
use super::meaning::{Change, Expect};
use super::meaning::{Meaning, row_key};
use crate::error::ApplyError;

#[derive(Debug, Clone)]
pub(super) struct BeforeImage {
    pub(super) sequence: Sequence,
    pub(super) file: ObjectId,
    pub(super) count: u64,
    pub(super) image: Vec<u8>,
}

impl ApplyMachine {
    /// The change an entry means; nothing for a before-image, which waits for its update.
    pub(super) fn change(
        &self,
        view: &EntryView<'_>,
        meaning: &Meaning,
        before: &mut Option<BeforeImage>,
    ) -> Result<Option<Change>, ApplyError> {
        let poison = |reason: String| ApplyError::Poison {
            sequence: view.sequence,
            reason,
        };
        let file = view.object;
        let image = view.payload.bytes();
        if matches!(meaning, Meaning::Before) {
            *before = Some(BeforeImage {
                sequence: view.sequence,
                file,
                count: view.count,
                image: image.to_vec(),
            });
            return Ok(None);
        }
        let format = self
            .format_of(view)
            .ok_or_else(|| poison(format!("file {file} was never defined in this journal")))?;
        let fitting = before.take();
        if let Some(fitting) = &fitting
            && (fitting.file != file
                || fitting.count != view.count
                || !matches!(meaning, Meaning::Update))
        {
            return Err(poison(
                "a before-image stands before something else than its update".to_owned(),
            ));
        }
        let sequence = view.sequence;
        let change = |key, row, expect| {
            Some(Change {
                sequence,
                file,
                key,
                row,
                expect,
            })
        };
        Ok(match meaning {
            Meaning::Put => change(
                row_key(view, format, image)?,
                Some(image.to_vec()),
                Expect::Absent,
            ),
            Meaning::Update => {
                let key = row_key(view, format, image)?;
                let expect = match fitting {
                    Some(fitting) => {
                        if row_key(view, format, &fitting.image)? != key {
                            return Err(poison("an update changes the key of its row".to_owned()));
                        }
                        Expect::Row(fitting.image)
                    }
                    None => Expect::Present,
                };
                change(key, Some(image.to_vec()), expect)
            }
            // JOFLAG 1: the image is the row; 0: it is only the key.
            Meaning::Delete if view.indicator == 1 => change(
                row_key(view, format, image)?,
                None,
                Expect::Row(image.to_vec()),
            ),
            Meaning::Delete => change(image.to_vec(), None, Expect::Present),
            _ => None,
        })
    }
}
