//! Programs of a recovery group of whole systems: they go on through a change of role, proxies find the primary by its health
//! address, and the operator's command follows each step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rjournal::daemon::command::entries::DisplayEntries;
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::command::status::{DescribeStatus, Health};
use rjournal::daemon::{ControlSocket, GroupDeposit};
use rjournal::entry::{DepositKey, Draft, Kind, Sequence};
use rjournal::journal::{AckClass, Again, Answer};
use rjournal::remote::MemberRole;
use rjournal::{GroupClient, System};
use rjournal_tests::groups::Group;
use rjournal_tests::systems::{PATIENCE, messages, name, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Programs that deposit at the same time.
const PROGRAMS: usize = 4;
/// Answers each of them gets before something happens.
const ANSWERS: u64 = 20;

fn listen(group: &Group, member: &str) -> ControlSocket {
    ControlSocket::listen(group.system(member)).expect("a socket")
}

fn places(group: &Group) -> Vec<PathBuf> {
    let members = group.members.iter();
    members.map(|(place, _)| place.data.clone()).collect()
}

/// Programs that deposit one entry after the other until they are stopped.
struct Programs {
    over: Arc<AtomicBool>,
    answered: Vec<Arc<AtomicU64>>,
    running: Vec<tokio::task::JoinHandle<Vec<(String, GroupDeposit)>>>,
}

impl Programs {
    fn start(places: &[PathBuf]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut answered, mut running) = (Vec::new(), Vec::new());
        for program in 0..PROGRAMS {
            let client = GroupClient::new(places, None);
            let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::clone(&over));
            answered.push(Arc::clone(&count));
            running.push(tokio::spawn(async move {
                let mut made = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let text = format!("{program}-{}", made.len());
                    let draft = Draft::new(Kind::USER, text.as_bytes());
                    let deposited = client.deposit(&draft, PATIENCE).await;
                    made.push((text, deposited.expect("a deposit that is answered")));
                    count.fetch_add(1, Ordering::AcqRel);
                }
                made
            }));
        }
        Self {
            over,
            answered,
            running,
        }
    }

    /// Waits until each of them got some more answers.
    async fn go_on(&self) {
        let now = || {
            self.answered
                .iter()
                .map(|count| count.load(Ordering::Acquire))
        };
        let before: Vec<u64> = now().collect();
        until(async || {
            now()
                .zip(&before)
                .all(|(now, before)| now >= before + ANSWERS)
        })
        .await;
    }

    async fn stop(self) -> Vec<(String, GroupDeposit)> {
        self.over.store(true, Ordering::Release);
        let mut made = Vec::new();
        for running in self.running {
            made.extend(running.await.expect("a program that ends"));
        }
        made
    }
}

/// How often each text stands in these journals of a system.
async fn texts(system: &System, journals: &[&str]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for journal in journals {
        let mut from = Some(Sequence::FIRST);
        while let Some(at) = from {
            let display = DisplayEntries {
                journal: name(journal),
                from: at,
                to: None,
                count: 10_000,
                newest: false,
                codes: "U".to_owned(),
                object: None,
                cycle: None,
                from_time: None,
                to_time: None,
                // An answer may be heard a moment before its entry is shown without this.
                unconfirmed: true,
                payload_bytes: 100,
            };
            let shown = system.run(display).await.expect("a journal");
            for entry in shown.entries {
                let text = String::from_utf8(entry.payload).expect("a text");
                *found.entry(text).or_default() += 1;
            }
            from = shown.next;
        }
    }
    found
}

fn class(deposit: &GroupDeposit) -> AckClass {
    match deposit.answer {
        Answer::Landed { class, .. } => class,
        other => panic!("not landed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_go_on_through_a_switch_and_every_answered_entry_is_there_once() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let sockets = [listen(&group, "PRD"), listen(&group, "BKP")];
    let programs = Programs::start(&places(&group));
    programs.go_on().await;
    group.switch("PRD", "BKP").await.expect("a switch");
    programs.go_on().await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.switch("BKP", "PRD").await.expect("a switch");
    programs.go_on().await;
    let made = programs.stop().await;
    group.settled("BKP", MemberRole::Backup, 3).await;
    let found = texts(group.system("PRD"), &["PRDLIB/JRN", "PRDLIB/BKP"]).await;
    for (text, deposit) in &made {
        assert_eq!(found.get(text), Some(&1), "{text}: {deposit:?}");
    }
    assert_eq!(found.len(), made.len(), "nothing else is there");
    let primaries = made
        .iter()
        .map(|(_, deposit)| deposit.primary.expect("one"));
    let mut primaries: Vec<String> = primaries.map(|name| name.to_string()).collect();
    primaries.sort();
    primaries.dedup();
    assert_eq!(primaries, ["BKP", "PRD"]);
    drop(sockets);
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_go_on_through_a_takeover_and_every_answered_entry_is_there() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let bkp = listen(&group, "BKP");
    let prd = listen(&group, "PRD");
    let programs = Programs::start(&places(&group));
    programs.go_on().await;
    drop(prd);
    group.stop("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    programs.go_on().await;
    let made = programs.stop().await;
    let found = texts(group.system("BKP"), &["BKPLIB/JRN", "BKPLIB/BKP"]).await;
    for (text, deposit) in &made {
        let by_prd = deposit.primary.expect("one").as_str() == "PRD";
        // What PRD answered alone may be lost with it.
        if !by_prd || class(deposit) == AckClass::Sync {
            assert!(found.contains_key(text), "{text}: {deposit:?}");
        }
        // However often it was sent, and to whom.
        let times = found.get(text).copied();
        assert!(
            times.is_none_or(|times| times == 1),
            "{text}: {times:?} {deposit:?}"
        );
    }
    for text in found.keys() {
        assert!(
            made.iter().any(|(made, _)| made == text),
            "nobody asked for {text}"
        );
    }
    drop(bkp);
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_entry_and_what_cannot_be_helped_is_told() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let sockets = [listen(&group, "PRD"), listen(&group, "BKP")];
    let client = GroupClient::new(places(&group), Some("ORDERS".parse().expect("a name")));
    let draft = Draft::new(Kind::USER, b"first");
    let first = client.deposit(&draft, PATIENCE).await.expect("a deposit");
    assert_eq!((first.tries, first.again), (1, Again::No));
    // The same key again is the same entry, whoever asks.
    let again = client.deposit_under(first.key, &draft, PATIENCE).await;
    let again = again.expect("a deposit");
    assert!(again.again.is_again(), "{again:?}");
    assert_eq!(again.answer, first.answer);
    // What is wrong with the entry itself is told at once.
    let opened = Draft::new(Kind::OPENED, b"");
    let refused = client
        .deposit(&opened, PATIENCE)
        .await
        .expect_err("not ours");
    assert_eq!(refused.id, "CPF7003", "{refused}");
    let cycle = Draft::new(Kind::CYCLE_START, b"");
    client
        .deposit(&cycle, PATIENCE)
        .await
        .expect_err("no cycles");
    let told = client.primary(PATIENCE).await.expect("a primary");
    assert_eq!(told.primary.expect("one").as_str(), "PRD");
    drop(sockets);
    group.stop("PRD").await;
    // Nobody is primary, and nothing was sent: it is refused when its time is over.
    let short = std::time::Duration::from_millis(100);
    let refused = client.deposit(&draft, short).await.expect_err("nobody");
    assert!(refused.is_transient(), "{refused}");
    let strange = GroupClient::new(places(&group), Some("OTHER".parse().expect("a name")));
    let _bkp = listen(&group, "BKP");
    let strange = strange.primary(short).await.expect_err("no such group");
    assert!(strange.is_transient(), "PRD may know it: {strange}");
    group.stop_all().await;
}

/// The program was started again after the role went on, and gives again what it does not know the answer of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_given_again_to_the_next_primary_is_the_one_of_the_earlier_term() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let sockets = [listen(&group, "PRD"), listen(&group, "BKP")];
    let client = GroupClient::new(places(&group), None);
    let draft = Draft::new(Kind::USER, b"first");
    let first = client.deposit(&draft, PATIENCE).await.expect("a deposit");
    group.switch("PRD", "BKP").await.expect("a switch");
    let DepositKey { client: id, key } = first.key;
    let next = GroupClient::with_keys(places(&group), None, id, key + 1);
    let again = next.deposit_under(first.key, &draft, PATIENCE).await;
    let again = again.expect("a deposit");
    let sequence = |deposit: &GroupDeposit| match deposit.answer {
        Answer::Landed { sequence, .. } => sequence,
        other => panic!("not landed: {other:?}"),
    };
    assert_eq!(sequence(&again), sequence(&first));
    assert_eq!(again.primary.expect("one").as_str(), "BKP");
    assert!(again.again.journal().is_some(), "{again:?}");
    let second = Draft::new(Kind::USER, b"second");
    let refused = next.deposit_under(first.key, &second, PATIENCE).await;
    let refused = refused.expect_err("the key is used");
    assert_eq!(refused.id, "CPF7003", "{refused}");
    let second = next.deposit(&second, PATIENCE).await.expect("a deposit");
    assert_eq!((second.again, second.tries), (Again::No, 1));
    drop(sockets);
    group.stop_all().await;
}

/// What a health address answers: the status, and the body as JSON.
async fn ask(system: &System, line: &str) -> (u16, String) {
    let address = system.health_address().expect("a health address");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("room");
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.expect("it ends").expect("a text");
    let status = text.split(' ').nth(1).expect("a status line");
    let body = text.split_once("\r\n\r\n").expect("a head").1;
    (status.parse().expect("a number"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_answers_by_role_and_changes_with_a_switch() {
    let any = Some(([127, 0, 0, 1], 0).into());
    let attributes = AttributePatch::default();
    let mut group = Group::with(&["PRD", "BKP"], attributes, |config| config.health = any).await;
    let roles = async |member: &str| {
        let mut found = Vec::new();
        for path in [
            "/primary",
            "/backup",
            "/groups/ORDERS/primary",
            "/groups/ORDERS/backup",
        ] {
            found.push(ask(group.system(member), &format!("GET {path}")).await.0);
        }
        found
    };
    let (primary, backup) = ([200, 503, 200, 503], [503, 200, 503, 200]);
    assert_eq!(roles("PRD").await, primary);
    assert_eq!(roles("BKP").await, backup);
    group.deposit_sync("PRD", "first").await;
    group.switch("PRD", "BKP").await.expect("a switch");
    until(async || roles("BKP").await == primary && roles("PRD").await == backup).await;
    let bkp = group.system("BKP");
    let (status, body) = ask(bkp, "GET /groups/ORDERS").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("\"term\":2") && body.contains("\"primary\":\"BKP\""),
        "{body}"
    );
    assert_eq!(ask(bkp, "HEAD /primary").await, (200, String::new()));
    for (line, status) in [
        ("GET /groups/NONE", 404),
        ("GET /groups/way-too-long/primary", 404),
        ("GET /", 404),
        ("POST /primary", 405),
        ("nonsense", 400),
    ] {
        assert_eq!(ask(bkp, line).await.0, status, "{line}");
    }
    let (status, body) = ask(bkp, "GET /health").await;
    let stopped = bkp.run(DescribeStatus {}).await.expect("a status").health == Health::Stopped;
    assert_eq!(status, if stopped { 503 } else { 200 }, "{body}");
    // Others are told where to ask.
    let address = bkp.health_address().map(|address| address.to_string());
    until(async || {
        let known = group.described("PRD").await.members;
        let mut bkp = known.iter().filter(|member| member.name.as_str() == "BKP");
        bkp.next().is_some_and(|member| member.health == address)
    })
    .await;
    group.stop_all().await;
}

/// A group of two whose command for changes of role writes down what it is told, and says no to a step named in a file.
async fn watched(dir: &std::path::Path) -> (Group, PathBuf, PathBuf) {
    let (log, refuse) = (dir.join("log"), dir.join("refuse"));
    let command = format!(
        "echo $RJOURNAL_SYSTEM $RJOURNAL_GROUP $RJOURNAL_STEP $RJOURNAL_TERM ${{RJOURNAL_PRIMARY:-none}} $RJOURNAL_REASON >> {log}; \
         case $(cat {refuse} 2>/dev/null) in \
         $RJOURNAL_STEP) echo \"not now\" >&2; exit 3;; \
         hang-$RJOURNAL_STEP) sleep 1000;; esac",
        log = log.display(),
        refuse = refuse.display(),
    );
    let attributes = AttributePatch::default();
    let group = Group::with(&["PRD", "BKP"], attributes, |config| {
        config.on_role = Some(command.clone());
        config.role_hook_seconds = 1;
    });
    (group.await, log, refuse)
}

/// Waits until a system's command was told so many steps, and gives them.
async fn steps(log: &std::path::Path, system: &str, count: usize) -> Vec<String> {
    let told = || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let begin = format!("{system} ORDERS ");
        let steps = text.lines().filter_map(|line| line.strip_prefix(&begin));
        steps.map(str::to_owned).collect::<Vec<_>>()
    };
    until(async || told().len() >= count).await;
    told()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_for_changes_of_role_is_told_each_step_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut group, log, _) = watched(dir.path()).await;
    group.deposit_sync("PRD", "first").await;
    group.switch("PRD", "BKP").await.expect("a switch");
    let prd = steps(&log, "PRD", 3).await;
    assert_eq!(prd[0], "before-switch 1 BKP switch");
    assert_eq!(prd[1], "drained 1 BKP switch");
    assert_eq!(prd[2], "backup 2 BKP switch");
    assert_eq!(steps(&log, "BKP", 1).await, ["primary 2 BKP switch"]);
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.take_over("PRD", false).await.expect("a takeover");
    assert_eq!(steps(&log, "BKP", 2).await[1], "backup 3 PRD fenced");
    let prd = steps(&log, "PRD", 5).await;
    assert_eq!(
        prd[3..],
        ["before-takeover 2 PRD takeover", "primary 3 PRD takeover"]
    );
    group.settled("BKP", MemberRole::Backup, 3).await;
    group.stop_all().await;
    // Each was told once, also where several members told of it.
    assert_eq!(steps(&log, "PRD", 5).await.len(), 5);
    assert_eq!(steps(&log, "BKP", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_says_no_or_hangs_stops_a_switch_or_takeover_with_nothing_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut group, log, refuse) = watched(dir.path()).await;
    group.deposit_sync("PRD", "first").await;
    let answers = [
        ("before-switch", "exit status: 3: not now"),
        ("hang-before-switch", "did not end within 1 s"),
    ];
    for (says, told) in answers {
        std::fs::write(&refuse, says).expect("a file");
        let refused = group.switch("PRD", "BKP").await.expect_err("it says no");
        assert_eq!(refused.id, "RJN7134", "{refused}");
        assert!(refused.text.contains(told), "{refused}");
        group.deposit_sync("PRD", says).await;
    }
    std::fs::write(&refuse, "before-takeover").expect("a file");
    let refused = group.take_over("BKP", false).await.expect_err("it says no");
    assert_eq!(refused.id, "RJN7134", "{refused}");
    for member in ["PRD", "BKP"] {
        assert_eq!(group.described(member).await.promised, 1);
    }
    group.deposit_sync("PRD", "third").await;
    let prd = steps(&log, "PRD", 4).await;
    let pair = ["before-switch 1 BKP switch", "aborted 1 PRD switch"];
    assert_eq!(prd, [pair, pair].concat());
    let bkp = steps(&log, "BKP", 2).await;
    assert_eq!(
        bkp,
        ["before-takeover 1 BKP takeover", "aborted 1 PRD takeover"]
    );
    let warned = messages(group.system("PRD"), "RJN7010").await;
    assert_eq!(warned.len(), 2, "{warned:?}");
    // What it says of a step that is durable changes nothing.
    std::fs::write(&refuse, "drained").expect("a file");
    group.switch("PRD", "BKP").await.expect("a switch");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "fourth").await;
    group.stop_all().await;
}
