//! Package `cli`, the benchmark: two daemons as processes, and clients on the socket of one. Must not know systems in this
//! process.

use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::{JournalClient, Want};
use rjournal::entry::{Draft, Kind};
use rjournal::journal::Answer;

use super::{MANY, Plan, Sample, measure};
use crate::error::CliError;
use crate::pair::{Pair, Voice};

pub(super) struct Outside {
    pub(super) pair: Pair,
    payload: usize,
}

impl Outside {
    pub(super) async fn make(plan: &Plan) -> Result<Self, CliError> {
        let pair = Pair::make(&plan.dir, Voice(None)).await?;
        let made = Self {
            pair,
            payload: plan.payload,
        };
        made.pair.couple().await?;
        let local = ["crtjrn", "--jrn", "PRDLIB/LOCAL"];
        made.pair.source.run(&local).await?;
        Ok(made)
    }

    pub(super) async fn local(&self, time: Duration) -> Result<Sample, CliError> {
        self.many("PRDLIB/LOCAL", time).await
    }

    pub(super) async fn sync(&self, time: Duration) -> Result<Sample, CliError> {
        self.many("PRDLIB/JRN", time).await
    }

    /// Each client on a connection of its own.
    async fn many(&self, journal: &str, time: Duration) -> Result<Sample, CliError> {
        let journal = journal
            .parse()
            .map_err(|error| CliError::internal(&error))?;
        let mut makers: Vec<(JournalClient, Vec<u8>)> = Vec::new();
        for number in 1..=MANY {
            let actor = [
                format!("BENCH{number}"),
                String::new(),
                "RJOURNAL".to_owned(),
            ];
            let client = Client::attach(&self.pair.source.data, journal, actor, false).await?;
            makers.push((client, vec![0x5a; self.payload]));
        }
        measure(makers, time, |(client, payload)| {
            Box::pin(async move {
                let ticket = client
                    .deposit(&Draft::new(Kind::USER, payload), Want::Answer)
                    .await?;
                match ticket.answer().await? {
                    (Answer::Landed { .. }, _) => Ok(()),
                    (other, _) => Err(CliError::internal(&format!(
                        "a deposit was answered {other:?}"
                    ))),
                }
            })
        })
        .await
    }
}
