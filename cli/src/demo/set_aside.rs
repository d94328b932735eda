//! Package `cli`, the demonstration: what the old primary had alone and was set aside, read from its orphan archives with the commands
//! an operator would type: which transfers of the bank they hold. Must not know how they came there.

use std::collections::HashSet;

use serde_json::Value;

use crate::error::CliError;
use crate::pair::Pair;

/// A transfer by its client and number.
type TransferName = (i32, i64);

/// Transfers in orphan archives.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    transfers: HashSet<TransferName>,
}

impl SetAside {
    /// Reads all archives of PRD.
    pub(super) async fn read(pair: &Pair) -> Result<Self, CliError> {
        let mut found = Self::default();
        for archive in archives(pair).await? {
            let jrn = text_of(&archive, "journal");
            let number = number_of(&archive, "number").to_string();
            let show = ["orphans", "show", "--jrn", &jrn, "--number", &number];
            let all = ["--count", "1000000"];
            let shown = pair
                .source
                .run_unseen(&[show.as_slice(), &all].concat())
                .await?;
            for transaction in list_of(&shown, "transactions") {
                found.note(transaction);
            }
        }
        Ok(found)
    }

    fn note(&mut self, transaction: &Value) {
        if transaction.get("outcome") != Some(&Value::from("COMMITTED")) {
            return;
        }
        for row in list_of(transaction, "rows") {
            if row.get("file") != Some(&Value::from("PRDLIB/HISTORY")) {
                continue;
            }
            let part = |at: usize| row.get("key")?.get(at)?.as_i64();
            if let (Some(client), Some(number)) = (part(0), part(1))
                && let Ok(client) = i32::try_from(client)
            {
                self.transfers.insert((client, number));
            }
        }
    }

    /// How many transfers.
    pub(super) fn len(&self) -> u64 {
        self.transfers.len() as u64
    }

    /// Whether a transfer is among them.
    pub(super) fn holds(&self, name: TransferName) -> bool {
        self.transfers.contains(&name)
    }

    /// How many of them are as asked for.
    pub(super) fn count_of(&self, asked: impl Fn(TransferName) -> bool) -> u64 {
        self.transfers.iter().filter(|&&name| asked(name)).count() as u64
    }
}

/// All archives of PRD, as `orphans list` has them.
pub(super) async fn archives(pair: &Pair) -> Result<Vec<Value>, CliError> {
    let listed = pair.source.run_unseen(&["orphans", "list"]).await?;
    Ok(list_of(&listed, "archives").to_vec())
}

/// A number of an archive; 0 where there is none.
pub(super) fn number_of(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn text_of(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn list_of<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}
