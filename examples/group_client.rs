//! A program of a recovery group: it deposits at whoever is primary, through switches and takeovers; each entry lands once.
//!
//! `cargo run -p rjournal-examples --bin group_client -- ORDERS /var/lib/prd /var/lib/bkp`, with the data directories of members on
//! this machine, or control sockets led here. `--orders N` before the group deposits N entries rather than 100; with
//! `--store DB FILE` it also makes a transaction on the primary's store DB, with a key-value file.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rjournal::GroupClient;
use rjournal::entry::record::Value;
use rjournal::entry::{Draft, FileName, Kind, Name};
use rjournal::journal::{Again, Answer};
use rjournal_apply::serve::{SteadyClient, WriteKind};

/// How long one deposit is tried: a switch takes less than a second, a takeover as long as an operator needs.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut database: Option<(Name, FileName)> = None;
    if arguments.next_if_eq("--store").is_some() {
        let mut next = || arguments.next().ok_or("give --store STORE FILE");
        database = Some((next()?.parse()?, next()?.parse()?));
    }
    let mut orders = 100;
    if arguments.next_if_eq("--orders").is_some() {
        orders = arguments.next().ok_or("give --orders N")?.parse()?;
    }
    let group: Name = arguments.next().ok_or("give GROUP DATA...")?.parse()?;
    let members: Vec<PathBuf> = arguments.map(PathBuf::from).collect();

    // Nobody is asked before the first deposit. A client that is to outlive its process keeps its id and its keys:
    // `GroupClient::with_keys`.
    let client = GroupClient::new(&members, Some(group)).actor([
        "EXAMPLE".to_owned(),
        String::new(),
        "group_client".to_owned(),
    ]);
    for number in 1..=orders {
        let text = format!("order {number}");
        let draft = Draft::new(Kind::USER, text.as_bytes());
        // An error means that this entry is in no journal, and never will be.
        let mut made = client.deposit(&draft, PATIENCE).await?;
        while let Answer::Unknown { why, .. } = made.answer {
            // It may be in a journal or not. Under its key it is safe to give it again.
            println!("{text}: nobody knows yet ({why:?}), again");
            made = client.deposit_under(made.key, &draft, PATIENCE).await?;
        }
        if let Answer::Landed {
            sequence, class, ..
        } = made.answer
        {
            let primary = made.primary.map(|name| name.to_string());
            let before = match made.again {
                Again::No => "",
                Again::Here => ", it had landed before",
                Again::In(_) => ", it had landed before, in the journal of an earlier term",
            };
            println!(
                "{text}: {class:?} as entry {sequence} at {}, sent {} times{before}",
                primary.unwrap_or_default(),
                made.tries
            );
        }
    }

    // A transaction on the primary's store: tried from its beginning, wherever that is by then.
    if let Some((store, file)) = database {
        let stores = members.into_iter().map(|data| (data, store));
        let mut database = SteadyClient::of_group(stores, Some(group), PATIENCE);
        let row = [
            Value::Binary(b"greeting".to_vec()),
            Value::Binary(b"hello".to_vec()),
        ];
        let landed = database
            .transact(client.next_key(), async |transaction| {
                transaction.write(WriteKind::Put, &file, &row).await
            })
            .await?;
        println!("entry {}, class {:?}", landed.sequence, landed.class);
    }
    Ok(())
}
