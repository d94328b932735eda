//! A client of a daemon on this machine: commands, and transactions that outlive a daemon that is killed and comes back.
//!
//! `cargo run -p rjournal-examples --bin client -- /var/lib/rjournal DB PRDLIB/KV`, with a key-value file journaled to the
//! journal of store DB.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::journal::DescribeJournals;
use rjournal::entry::record::Value;
use rjournal::entry::{ClientId, DepositKey, FileName, Name};
use rjournal_apply::serve::{SteadyClient, WriteKind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("give DATA STORE FILE");
    let data = PathBuf::from(next()?);
    let store: Name = next()?.parse()?;
    let file: FileName = next()?.parse()?;

    // Commands, as an operator has them.
    let client = Client::connect(&data).await?;
    let journals = client.run(DescribeJournals { journal: None }).await?;
    for journal in journals.journals {
        println!("{} {}", journal.journal, journal.state.as_str());
    }

    // A transaction with a deposit key lands once, however often it is tried. The client's id is chosen once and kept; the
    // key grows with every transaction.
    let mut database = SteadyClient::new(&data, store, Duration::from_mins(1));
    let key = DepositKey {
        client: ClientId::from_bytes([7; 16]),
        key: 1,
    };
    let row = [
        Value::Binary(b"greeting".to_vec()),
        Value::Binary(b"hello".to_vec()),
    ];
    let landed = database
        .transact(key, async |transaction| {
            transaction.write(WriteKind::Put, &file, &row).await
        })
        .await?;
    println!(
        "entry {}, class {:?}, tries {}",
        landed.sequence, landed.class, landed.tries
    );
    let found = database
        .client()
        .await?
        .get(&file, &[Value::Binary(b"greeting".to_vec())])
        .await?;
    println!("{found:?}");
    Ok(())
}
