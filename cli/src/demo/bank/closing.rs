//! Package `cli`, the demonstration: the bank closes its books: the ledger of answers is held against the history both systems have,
//! and against what was set aside. Must not know how systems were lost.

use std::collections::{BTreeMap, HashMap};

use rjournal::entry::record::{Value, decode_row};
use rjournal::journal::AckClass;
use rjournal_apply::serve::DatabaseClient;

use super::{Bank, Books, HISTORY};
use crate::demo::proof::Proofs;
use crate::demo::set_aside::SetAside;
use crate::error::CliError;
use crate::pair::Pair;
use crate::text;

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

impl Bank {
    /// Every answered transaction is in the history of the replica, or was answered LOCAL and is listed among the orphans; the
    /// balances are the sums of the history.
    pub(in crate::demo) async fn prove(
        &self,
        pair: &Pair,
        set_aside: &SetAside,
        proofs: &mut Proofs,
    ) -> Result<(), CliError> {
        let mut replica = pair.target.database().await?;
        let mut history = HashMap::new();
        let mut sum = 0;
        for row in read_all(&mut replica, &self.books, HISTORY).await? {
            if let (
                Some(Value::Integer(client)),
                Some(Value::BigInt(number)),
                Some(Value::BigInt(delta)),
            ) = (row.first(), row.get(1), row.get(5))
            {
                history.insert((*client, *number), *delta);
                sum += delta;
            }
        }
        proofs.content_text = "no transaction landed twice, every one that is not set aside landed, and the balances of all branches, tellers and accounts add up to them";
        proofs.content_right = true;
        let answers = self.answers.all();
        let mut missing: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for answered in &answers {
            let name = (answered.client, answered.number);
            if history.get(&name) == Some(&answered.delta) {
                continue;
            }
            if answered.class == Some(AckClass::Sync) {
                proofs.lost_sync_answers += 1;
                proofs.tell(format!(
                    "transaction {} of client {}, answered SYNC, is not in the replica",
                    name.1, name.0
                ));
            } else if set_aside.holds(name) {
                proofs.orphans_answered += 1;
                missing.entry(name.0).or_default().push(name.1);
            } else {
                proofs.content_right = false;
                proofs.tell(format!(
                    "transaction {} of client {} is neither in the replica nor among the orphans",
                    name.1, name.0
                ));
            }
        }
        proofs.orphans_named = missing
            .iter()
            .map(|(client, numbers)| format!("client {client}: {}", text::ranges(numbers)))
            .collect();
        let kept = answers.len() as u64 - proofs.orphans_answered - proofs.lost_sync_answers;
        proofs.orphans_landed = set_aside.count_of(|name| history.contains_key(&name));
        if set_aside.len() != proofs.orphans_answered + proofs.orphans_landed {
            proofs.content_right = false;
            proofs.tell("there are orphans that no client knows of".to_owned());
        }
        if history.len() as u64 != kept {
            proofs.content_right = false;
            proofs.tell(format!(
                "{kept} transactions were answered and are not among the orphans, the history has {}",
                history.len()
            ));
        }
        for (index, balance) in [(0, 1), (1, 2), (2, 2)] {
            let rows = read_all(&mut replica, &self.books, index).await?;
            let total: i64 = rows
                .iter()
                .filter_map(|row| match row.get(balance) {
                    Some(Value::BigInt(amount)) => Some(*amount),
                    _ => None,
                })
                .sum();
            if total != sum {
                proofs.content_right = false;
                let (file, _) = self.books.file(index)?;
                proofs.tell(format!("{file} adds up to {total}, the history to {sum}"));
            }
        }
        Ok(())
    }
}

/// All rows of a file.
async fn read_all(
    database: &mut DatabaseClient,
    books: &Books,
    index: usize,
) -> Result<Vec<Vec<Value>>, CliError> {
    let (file, format) = books.file(index)?;
    let (mut after, mut rows) = (None::<Vec<u8>>, Vec::new());
    loop {
        let page = database.scan(file, after.as_deref(), PAGE_ROWS).await?;
        let Some(last) = page.rows.last() else {
            return Ok(rows);
        };
        after = Some(last.key.clone());
        for found in &page.rows {
            let row = decode_row(format, &found.row);
            rows.push(row.map_err(|error| CliError::internal(&text::causes(&error)))?);
        }
    }
}
