//! A client of the database of a recovery group: it goes to the store of whoever is primary.

use std::time::Duration;

use rjournal::daemon::ControlSocket;
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::entry::{ClientId, DepositKey, Name};
use rjournal_apply::database::{Database, DatabaseOptions};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::JobOptions;
use rjournal_apply::serve::{SteadyClient, StoreSocket, WriteKind, socket_path};
use rjournal_apply::store::StoreKind;
use rjournal_tests::groups::Group;

use crate::place::{LONG, account, create_file, port, row, start_job, start_journaling};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_goes_to_the_store_of_the_primary_and_waits_no_longer_than_it_may() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let prd = group.system("PRD").clone();
    let fields = ["ID BIGINT", "NAME VARCHAR(20) NOT NULL", "AMOUNT INTEGER"];
    create_file(&prd, &account(), &fields, &["ID"])
        .await
        .unwrap();
    start_journaling(&prd, &account()).await.unwrap();
    let job = start_job(&prd, prd.data(), StoreKind::Sled, JobOptions::default()).await;
    let options = DatabaseOptions::default();
    let database = Database::open(port(&prd).await, job.shared().clone(), options);
    let database = database.await.unwrap();
    let main = Name::new("MAIN").unwrap();
    let served = StoreSocket::listen(socket_path(prd.data(), main), database).unwrap();
    let sockets = ["PRD", "BKP"].map(|member| ControlSocket::listen(group.system(member)).unwrap());
    // The backup is named first, and has no store that is served.
    let stores = ["BKP", "PRD"].map(|member| (group.system(member).data().to_owned(), main));
    let key = |key| DepositKey {
        client: ClientId::from_bytes([1; 16]),
        key,
    };
    let mut client = SteadyClient::of_group(stores.clone(), None, LONG);
    let put = async |client: &mut SteadyClient, number: u64| {
        let row = row(1, "Ann", 10);
        let work = client.transact(key(number), async |transaction| {
            transaction.write(WriteKind::Put, &account(), &row).await
        });
        work.await
    };
    let landed = put(&mut client, 1).await.unwrap();
    assert_eq!(landed.tries, 1, "{landed:?}");
    let again = put(&mut client, 1).await.unwrap();
    assert_eq!((again.sequence, again.class), (landed.sequence, None));
    // The role goes to a member whose store nobody serves: it is looked for, as long as there is patience.
    group.switch("PRD", "BKP").await.unwrap();
    let mut hasty = SteadyClient::of_group(stores, None, Duration::from_millis(300));
    let error = put(&mut hasty, 2).await.unwrap_err();
    assert!(matches!(error, DatabaseError::NoJob { .. }), "{error}");
    // It ends by itself with its journal, or here.
    drop(job.stop().await);
    drop((served, sockets));
    group.stop_all().await;
}
