//! A system that stops leaves nothing behind that runs. A program of its own: it looks at all threads of its process.

use std::time::Duration;

use rjournal::daemon::command::journal::AttributePatch;
use rjournal_tests::systems::{Two, name, start, until};

/// A system once came back from its stop while a journal was just opening: its writer went on in a directory another
/// process could have by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_that_stops_while_a_journal_opens_leaves_nobody_writing() {
    let two = Two::in_sync(AttributePatch::default()).await;
    two.prd.stop().await;
    for patience in 0..40 {
        let prd = start(&two.prd_place.data).await;
        let open = prd.journal_when_open(name("PRDLIB/JRN"), Duration::from_millis(patience));
        drop(open.await);
        prd.stop().await;
        until(async || !writes()).await;
    }
    two.bkp.stop().await;
}

/// Whether a thread of this process writes a local journal.
fn writes() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let names = threads.filter_map(|thread| {
        let name = thread.ok()?.path().join("comm");
        std::fs::read_to_string(name).ok()
    });
    names.into_iter().any(|name| name.starts_with("write "))
}
