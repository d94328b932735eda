//! Package `cli`, orphans: transactions are written to an export. Must not know how it is read.

use std::io::Write;

use rjournal::entry::ObjectId;
use rjournal::entry::record::Format;
use serde::Serialize;

use super::{ChangeLine, FormatLine, Header, Line, NoteLine, TransactionLine};
use crate::orphan::class::Class;
use crate::orphan::transaction::{Change, Transaction};
use crate::orphan::values::{key_of, row_of};
use crate::rows;
use crate::text;

/// An export in the making.
pub(crate) struct Writing<'a, W> {
    out: &'a mut W,
    formats: Vec<(ObjectId, u32)>,
    transactions: u64,
}

impl<'a, W: Write> Writing<'a, W> {
    /// Begins it.
    pub(crate) fn begin(out: &'a mut W, header: &Header) -> std::io::Result<Self> {
        put(out, header)?;
        Ok(Self {
            out,
            formats: Vec::new(),
            transactions: 0,
        })
    }

    /// The next transaction, and what is known of formats.
    pub(crate) fn push<'f>(
        &mut self,
        transaction: &Transaction,
        class: Class,
        known: impl Fn(ObjectId, u32) -> Option<&'f Format>,
    ) -> std::io::Result<()> {
        for change in &transaction.changes {
            let place = (change.object, change.format);
            if let Some(format) = known(place.0, place.1)
                && !self.formats.contains(&place)
            {
                self.formats.push(place);
                let line = FormatLine {
                    object: place.0,
                    version: place.1,
                    file: format.file().clone(),
                    bytes: text::hex(&format.encode()),
                };
                put(self.out, &Line::Format(line))?;
            }
        }
        let [job, user, program, system] = transaction.actor.clone();
        let line = TransactionLine {
            sequence: transaction.sequence,
            outcome: transaction.outcome.name().to_owned(),
            class: class.name().to_owned(),
            time: transaction.time,
            job,
            user,
            program,
            system,
            key: transaction.key,
            epoch: transaction.epoch,
            incomplete: transaction.incomplete,
            changes: transaction
                .changes
                .iter()
                .map(|change| change_line(change, known(change.object, change.format)))
                .collect(),
            notes: transaction
                .notes
                .iter()
                .map(|note| NoteLine {
                    sequence: note.sequence,
                    kind: note.kind,
                    object: note.object,
                    data: text::hex(&note.data),
                })
                .collect(),
        };
        self.transactions += 1;
        put(self.out, &Line::Transaction(Box::new(line)))
    }

    /// Ends it; gives how many transactions are in it.
    pub(crate) fn finish(self) -> std::io::Result<u64> {
        let transactions = self.transactions;
        put(self.out, &Line::End { transactions })?;
        Ok(transactions)
    }
}

fn put(out: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn change_line(change: &Change, format: Option<&Format>) -> ChangeLine {
    let values = |image: &Option<Vec<u8>>| row_of(format, image.as_deref()).map(|row| row.json());
    let hex = |image: &Option<Vec<u8>>| image.as_deref().map(text::hex);
    let key = format.and_then(|format| key_of(change, format));
    ChangeLine {
        sequence: change.sequence,
        change: change.kind.name().to_owned(),
        file: format.map(|format| format.file().clone()),
        object: change.object,
        format: change.format,
        record: change.record,
        key: key.map(|key| key.iter().map(rows::json).collect()),
        before: values(&change.before),
        after: values(&change.after),
        before_image: hex(&change.before),
        after_image: hex(&change.after),
        key_image: hex(&change.key),
    }
}
