//! A catalog that is lost in both copies keeps the daemon from starting, and is made again from the journals: libraries and
//! files come back, partners are asked for, and no receiver goes that a store may need.

use std::path::Path;
use std::time::Duration;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::daemon::command::file::{CreateFile, FileDescription, ListFiles, StartJournaling};
use rjournal::daemon::command::journal::{AttributePatch, JournalState};
use rjournal::daemon::{Clock, RebuiltCatalog, SystemClock, rebuild_catalog};
use rjournal::entry::record::Images;
use rjournal::error::SystemError;
use rjournal::journal::AckClass;
use rjournal::{System, SystemOptions};
use rjournal_tests::systems::{Two, deposit, describe, name, rdb, start, until};

const SOURCE: &str = "PRDLIB/JRN";

fn rebuild(data: &Path) -> Result<RebuiltCatalog, SystemError> {
    rebuild_catalog(data, false, SystemClock::start().wall())
}

fn lose_catalog(data: &Path) {
    for slot in ["catalog.a", "catalog.b"] {
        let path = data.join(slot);
        let mut bytes = std::fs::read(&path).expect("a slot");
        bytes[..50].fill(0x55);
        std::fs::write(path, bytes).expect("a file that can be written");
    }
}

async fn file(system: &System) -> FileDescription {
    let list = system.run(ListFiles { file: None }).await;
    let mut files = list.expect("a list").files;
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_without_its_catalog_is_made_whole_from_its_journals() {
    let deletes = AttributePatch {
        delete_receivers: Some(true),
        ..AttributePatch::default()
    };
    let mut two = Two::in_sync(deletes).await;
    let account = "PRDLIB/ACCOUNT".parse().expect("a file name");
    let create = CreateFile {
        file: account,
        fields: Vec::new(),
        key: Vec::new(),
        text: String::new(),
    };
    let created = two.prd.run(create).await.expect("a fresh file");
    let journaled = StartJournaling {
        file: created.file,
        journal: name(SOURCE),
        images: Images::Both,
    };
    two.prd.run(journaled).await.expect("an open journal");
    let before = file(&two.prd).await;
    two.prd.stop().await;
    let data = two.prd_place.data.clone();
    let refused = rebuild(&data).expect_err("it is not lost");
    assert!(matches!(refused, SystemError::NotLost { .. }), "{refused}");
    std::fs::create_dir_all(data.join("stores/REPLICA")).expect("a directory");
    lose_catalog(&data);
    let refused = System::open(SystemOptions::new(&data)).await;
    let refused = refused.expect_err("nothing is begun anew").to_string();
    assert!(refused.contains("--rebuild-catalog"), "{refused}");

    let rebuilt = rebuild(&data).expect("whole journals");
    assert_eq!(rebuilt.journals, [name(SOURCE)]);
    assert_eq!(rebuilt.kept.len(), 2);
    for lost in ["partner BKP", "store REPLICA", "DLTRCV(*YES)"] {
        let told = rebuilt.look_again.iter().any(|look| look.contains(lost));
        assert!(told, "{lost}: {rebuilt:?}");
    }
    two.prd = start(&data).await;
    assert_eq!(file(&two.prd).await, before);
    // It still asks its in-sync set, and the operator still says who that is.
    let waiting = describe(&two.prd, SOURCE).await;
    assert_eq!(waiting.state, JournalState::Opening, "{waiting:?}");
    assert!(
        waiting
            .attributes
            .is_some_and(|kept| !kept.delete_receivers)
    );
    let partner = PutPartner {
        rdb: rdb("BKP"),
        fingerprint: Some(two.bkp_place.identity.fingerprint),
        address: Some(format!("127.0.0.1:{}", two.bkp_place.port)),
        allow_journals: None,
        text: None,
        change: false,
    };
    two.prd.run(partner).await.expect("a fresh entry");
    until(async || deposit(&two.prd, "x", Duration::from_mins(1)).await == AckClass::Sync).await;
    two.stop().await;
}
