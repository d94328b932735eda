//! Crash tests of a local journal: power is lost before every sync in turn, and whatever was answered must be there.

use rjournal::disk::MemoryDisk;
use rjournal::journal::{Answer, Attributes, Ticket};
use rjournal_tests::bench_journal::{BenchJournal, after_crash, recover, user_entries};

/// Small receivers, so that a few deposits change them.
fn small() -> Attributes {
    Attributes {
        threshold: 64 * 1024,
        ..Attributes::default()
    }
}

/// Deposits and steps until the disk dies or all is done; gives what was answered LANDED.
fn run(disk: &MemoryDisk, rounds: u64) -> Vec<(u64, Vec<u8>)> {
    let mut answered = Vec::new();
    let Ok(mut bench) = BenchJournal::create(disk, small(), 7) else {
        return answered;
    };
    let mut tickets: Vec<(Ticket, Vec<u8>)> = Vec::new();
    for round in 0..rounds {
        for n in 0..3 {
            let payload = format!("{round}.{n}").into_bytes().repeat(900);
            match bench.journal.deposit(
                &rjournal::entry::Draft::new(rjournal::entry::Kind::USER, &payload),
                rjournal_tests::bench_journal::at(5),
            ) {
                Ok(ticket) => tickets.push((ticket, payload)),
                Err(_) => break,
            }
        }
        bench.writer_spare();
        if bench.step().is_err() {
            break;
        }
        // What detached receivers do not need goes back to the disk meanwhile.
        let reader = bench.journal.reader();
        if reader.trim(&bench.journal.control().receivers).is_err() {
            break;
        }
    }
    for (ticket, payload) in tickets {
        if let Some(Answer::Landed { sequence, .. }) = ticket.now() {
            answered.push((sequence.get(), payload));
        }
    }
    answered
}

#[test]
fn what_was_answered_survives_power_loss_before_every_sync() {
    let whole = MemoryDisk::new();
    let all = run(&whole, 30);
    let syncs = whole.syncs();
    assert_eq!(all.len(), 90);
    assert!(syncs > 40, "{syncs}");
    for cut in 1..=syncs {
        let disk = MemoryDisk::new();
        disk.die_at_sync(cut);
        let answered = run(&disk, 30);
        for seed in 0..4 {
            let (mut after, _) = after_crash(&disk, seed * 1000 + cut);
            // Opening twice, with a crash in between, ends in the same place.
            for again in 0..2 {
                let recovered = match recover(&after) {
                    Ok(recovered) => recovered,
                    Err(error) => {
                        assert!(answered.is_empty(), "cut {cut} seed {seed}: {error}");
                        break;
                    }
                };
                let found = user_entries(&recovered);
                for (sequence, payload) in &answered {
                    let at = found.iter().find(|(n, _)| n == sequence);
                    assert_eq!(
                        at.map(|(_, p)| p),
                        Some(payload),
                        "cut {cut} seed {seed} again {again}: entry {sequence} lost"
                    );
                }
                let tip = recovered.tip();
                drop(recovered);
                after = after_crash(&after, seed + 77).0;
                if let Ok(second) = recover(&after) {
                    assert_eq!(second.tip(), tip, "cut {cut} seed {seed}");
                }
                let mut bench =
                    BenchJournal::reopen(&after, seed + cut).expect("a recovered journal opens");
                let ticket = bench.deposit(b"after");
                bench.step().expect("a live disk");
                assert!(matches!(ticket.now(), Some(Answer::Landed { .. })));
            }
        }
    }
}
