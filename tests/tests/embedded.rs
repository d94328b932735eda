//! A journal in a program of one's own: threads that wait for their answers write by turns, beside depositors that do not
//! wait.

use rjournal::daemon::command::journal::AttributePatch;
use rjournal::entry::{Draft, Kind, Sequence};
use rjournal::journal::Answer;
use rjournal_tests::systems::{PATIENCE, Single, describe, name, start};

fn landed(answer: &Answer) -> Option<Sequence> {
    match answer {
        Answer::Landed { sequence, .. } => Some(*sequence),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_wait_and_tasks_that_do_not_are_all_answered_over_changes_of_receivers() {
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    let single = Single::with_journal(small).await;
    let journal = single
        .prd
        .journal_when_open(name("PRDLIB/JRN"), PATIENCE)
        .await
        .expect("an open journal");
    let first = journal.readable();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let journal = journal.clone();
            std::thread::spawn(move || {
                let draft = Draft::new(Kind::USER, &[7; 700]);
                (0..200)
                    .map(|_| journal.deposit_and_wait(&draft, PATIENCE).expect("taken"))
                    .filter_map(|answer| landed(&answer))
                    .count()
            })
        })
        .collect();
    let mut tickets = Vec::new();
    for _ in 0..200 {
        let draft = Draft::new(Kind::USER, &[8; 700]);
        tickets.push(journal.deposit(&draft).await.expect("taken"));
    }
    let mut answered = 0;
    for ticket in tickets {
        let answer = tokio::time::timeout(PATIENCE, ticket).await;
        answered += usize::from(landed(&answer.expect("in time")).is_some());
    }
    for thread in waiting {
        answered += thread.join().expect("no panic");
    }
    assert_eq!(answered, 800);
    assert!(journal.readable().get() >= first.get() + 800);
    assert!(describe(&single.prd, "PRDLIB/JRN").await.receivers.len() > 3);
    single.prd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_answers_who_waits_and_keeps_what_landed() {
    let single = Single::with_journal(AttributePatch::default()).await;
    let journal = single
        .prd
        .journal_when_open(name("PRDLIB/JRN"), PATIENCE)
        .await
        .expect("an open journal");
    let (begun, mut is_begun) = tokio::sync::mpsc::channel(4);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (journal, begun) = (journal.clone(), begun.clone());
            std::thread::spawn(move || {
                let draft = Draft::new(Kind::USER, b"entry");
                let mut last = Sequence::NONE;
                while let Ok(answer) = journal.deposit_and_wait(&draft, PATIENCE) {
                    let Some(sequence) = landed(&answer) else {
                        break;
                    };
                    last = last.max(sequence);
                    let _told = begun.try_send(());
                }
                last
            })
        })
        .collect();
    is_begun.recv().await.expect("deposits are made");
    single.prd.stop().await;
    let last = waiting
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .fold(Sequence::NONE, Sequence::max);
    drop(journal);
    let again = start(&single.place.data).await;
    let kept = describe(&again, "PRDLIB/JRN").await.watermarks.sealed;
    assert!(kept >= last, "{kept} after {last}");
    again.stop().await;
}
