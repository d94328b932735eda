//! Package `tests`: recovery groups of whole systems in this process, over real QUIC on loopback and real files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::daemon::command::group::{
    CreateGroup, DescribeGroups, GroupBackup, GroupDescription, SwitchPrimary, Switched, TakeOver,
};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::{ErrorKind, SwitchReport, TakeoverReport};
use rjournal::entry::{Draft, Kind, QualifiedName, Sequence, SystemName};
use rjournal::journal::{AckClass, Answer, Ticket};
use rjournal::remote::MemberRole;
use rjournal::{CommandError, System};
use tempfile::TempDir;

use crate::kept::Kept;
use crate::lines::{Line, Relay};
use crate::systems::{
    PATIENCE, Place, describe, journal, library, make, messages, name, rdb, start, until,
};

/// Systems of one group, each with a library of its name and `LIB`; a place whose system is stopped holds none.
#[derive(Debug)]
pub struct Group {
    /// Where they live, and the systems that run.
    pub members: Vec<(Place, Option<System>)>,
    /// The lines between them, by who calls whom; none where nobody is to be cut off.
    lines: BTreeMap<(String, String), Relay>,
    dir: TempDir,
}

/// The journal a member writes.
pub fn own(member: &str) -> QualifiedName {
    if member == "PRD" {
        name("PRDLIB/JRN")
    } else {
        name(&format!("{member}LIB/{member}"))
    }
}

impl Group {
    /// Makes systems of these names that know each other, and group ORDERS of them; the first is primary.
    pub async fn new(names: &[&str], attributes: AttributePatch) -> Self {
        let group = Self::strangers(names, attributes).await;
        group.create(names, true).await;
        group
    }

    /// The same, over lines that can be cut.
    pub async fn with_lines(names: &[&str], attributes: AttributePatch) -> Self {
        let group = Self::acquainted(names, attributes, true).await;
        group.create(names, true).await;
        group
    }

    /// Makes group ORDERS, and waits until everybody follows. `sync` says whether answers wait for the backups.
    pub async fn create(&self, names: &[&str], sync: bool) {
        let made = self.try_create(names, sync, PATIENCE).await;
        assert!(
            made.members
                .iter()
                .all(|member| member.follows == made.promised),
            "{made:?}"
        );
    }

    /// Makes group ORDERS, and waits so long for the others.
    pub async fn try_create(
        &self,
        names: &[&str],
        sync: bool,
        within: Duration,
    ) -> GroupDescription {
        let create = CreateGroup {
            name: "ORDERS".parse().expect("a name"),
            journal: name("PRDLIB/JRN"),
            backups: names[1..]
                .iter()
                .map(|backup| GroupBackup {
                    rdb: rdb(backup),
                    library: Some(format!("{backup}LIB").parse().expect("a name")),
                })
                .collect(),
            sync,
            text: String::new(),
            wait_ms: within.as_millis() as u64,
        };
        let ask = async {
            loop {
                // A member too busy to answer is asked again.
                match self.system("PRD").run(create.clone()).await {
                    Err(error) if error.kind == ErrorKind::Unreachable => {}
                    made => return made.expect("a group"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, ask).await.expect("in time")
    }

    /// Systems that know each other, without a group.
    pub async fn strangers(names: &[&str], attributes: AttributePatch) -> Self {
        Self::acquainted(names, attributes, false).await
    }

    /// The same; `lined` says whether there are lines between them.
    pub async fn acquainted(names: &[&str], attributes: AttributePatch, lined: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut members = Vec::new();
        for name in names {
            let (place, system) = make(dir.path(), name).await;
            library(&system, &format!("{name}LIB")).await;
            members.push((place, Some(system)));
        }
        let mut lines = BTreeMap::new();
        for (place, system) in &members {
            for (other, _) in members.iter().filter(|(other, _)| other.data != place.data) {
                let mut port = other.port;
                if lined {
                    let line = Relay::to(port).await;
                    port = line.port;
                    let ends = [place, other].map(|end| end.identity.name.to_string());
                    let [from, to] = ends;
                    lines.insert((from, to), line);
                }
                let entry = PutPartner {
                    rdb: rdb(other.identity.name.as_str()),
                    fingerprint: Some(other.identity.fingerprint),
                    address: Some(format!("127.0.0.1:{port}")),
                    allow_journals: Some(vec!["*ALL/*ALL".to_owned()]),
                    text: None,
                    change: false,
                };
                let system = system.as_ref().expect("it runs");
                system.run(entry).await.expect("a fresh entry");
            }
        }
        let first = members[0].1.as_ref().expect("it runs");
        journal(first, "PRDLIB/JRN", attributes).await;
        Self {
            members,
            lines,
            dir,
        }
    }

    /// Where the systems live.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The line over which a member calls another.
    pub fn line(&self, from: &str, to: &str) -> &Relay {
        &self.lines[&(from.to_owned(), to.to_owned())]
    }

    /// Changes all lines that begin or end at a member.
    pub fn set_lines(&self, member: &str, line: Line) {
        let of = self.lines.iter();
        for (_, relay) in of.filter(|((from, to), _)| from == member || to == member) {
            relay.set(line);
        }
    }

    /// Nobody reaches a member, and it reaches nobody.
    pub fn cut(&self, member: &str) {
        self.set_lines(member, Line::Cut);
    }

    /// It is reached again.
    pub fn mend(&self, member: &str) {
        self.set_lines(member, Line::Open);
    }

    /// Where a member lives.
    pub fn place(&self, member: &str) -> &Place {
        let mut places = self.members.iter().map(|(place, _)| place);
        places
            .find(|place| place.identity.name.as_str() == member)
            .expect("a member")
    }

    /// The receivers of a journal on a member that runs, oldest first.
    pub async fn receivers(&self, member: &str, journal: &str) -> Vec<PathBuf> {
        let described = describe(self.system(member), journal).await;
        let id = described.journal_id.expect("it is known");
        let of_it = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.starts_with(b"RJRNRCV")
                && bytes[..512].windows(16).any(|part| part == id.as_bytes())
        };
        let journals = std::fs::read_dir(self.place(member).data.join("journals"));
        let journals = journals.expect("a directory").flatten();
        let mut files: Vec<PathBuf> = journals
            .filter_map(|journal| std::fs::read_dir(journal.path().join("receivers")).ok())
            .flat_map(|receivers| receivers.flatten())
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "rcv"))
            .filter(of_it)
            .collect();
        files.sort();
        files
    }

    /// A copy of everything a member has on disk now.
    pub fn keep(&self, member: &str) -> Kept {
        Kept::of(&self.place(member).data)
    }

    /// A copy of what a member has on disk of the group itself: what it promised, which terms it knows.
    pub fn keep_standing(&self, member: &str) -> Kept {
        Kept::of(&self.place(member).data.join("groups"))
    }

    /// Stops a member as a kill does: nobody is told, and its disk is what it was in the middle of everything. Its lines are
    /// open again afterwards.
    pub async fn crash(&mut self, member: &str) {
        let left = self.keep(member);
        self.cut(member);
        self.stop(member).await;
        left.put_back();
        self.mend(member);
    }

    /// A system that runs.
    pub fn system(&self, member: &str) -> &System {
        let found = self
            .members
            .iter()
            .find(|(place, _)| place.identity.name.as_str() == member);
        found
            .and_then(|(_, system)| system.as_ref())
            .expect("it runs")
    }

    fn slot(&mut self, member: &str) -> &mut (Place, Option<System>) {
        let mut members = self.members.iter_mut();
        members
            .find(|(place, _)| place.identity.name.as_str() == member)
            .expect("a member")
    }

    /// Stops a system.
    pub async fn stop(&mut self, member: &str) {
        if let Some(system) = self.slot(member).1.take() {
            system.stop().await;
        }
    }

    /// Starts a system that was stopped.
    pub async fn start(&mut self, member: &str) {
        let slot = self.slot(member);
        slot.1 = Some(start(&slot.0.data).await);
    }

    /// Stops everything.
    pub async fn stop_all(&mut self) {
        for (_, system) in &mut self.members {
            if let Some(system) = system.take() {
                system.stop().await;
            }
        }
    }

    /// What DSPCRG says on a system.
    pub async fn described(&self, member: &str) -> GroupDescription {
        let groups = self.system(member).run(DescribeGroups { name: None }).await;
        groups.expect("groups").groups.remove(0)
    }

    /// The messages of this id on a member.
    pub async fn told(&self, member: &str, id: &str) -> Vec<String> {
        let told = messages(self.system(member), id).await;
        told.into_iter().map(|message| message.text).collect()
    }

    /// Waits until there are messages of this id on a member.
    pub async fn tells(&self, member: &str, id: &str) -> Vec<String> {
        until(async || !self.told(member, id).await.is_empty()).await;
        self.told(member, id).await
    }

    /// Whether a member gives no answer any more: it takes nothing, or what it took is UNKNOWN.
    pub async fn is_silent(&self, member: &str) -> bool {
        let Some(ticket) = self.ticket(member, "too late").await else {
            return true;
        };
        let answer = tokio::time::timeout(PATIENCE, ticket).await;
        !matches!(answer, Ok(Answer::Landed { .. }))
    }

    /// Waits until a member has promised a term, whoever has it.
    pub async fn promised(&self, member: &str, term: u64) {
        until(async || self.described(member).await.promised == term).await;
    }

    /// Deposits a text; nothing where the journal takes none within a moment.
    pub async fn ticket(&self, primary: &str, text: &str) -> Option<Ticket> {
        let system = self.system(primary);
        let journal = system.journal_when_open(own(primary), MOMENT).await;
        let draft = Draft::new(Kind::USER, text.as_bytes());
        journal.ok()?.deposit(&draft).await.ok()
    }

    /// Deposits until one is answered LOCAL: nobody is in the in-sync set any more.
    pub async fn deposit_local(&self, primary: &str, text: &str) -> Sequence {
        let deposits = async {
            loop {
                let (class, sequence) = self.deposit(primary, text).await;
                if class == AckClass::Local {
                    return sequence;
                }
            }
        };
        tokio::time::timeout(PATIENCE, deposits)
            .await
            .expect("in time")
    }

    /// Waits until a system has this role in this term, and follows it.
    pub async fn settled(&self, member: &str, role: MemberRole, term: u64) {
        until(async || {
            let group = self.described(member).await;
            let here = group.members.iter().find(|of| of.name.as_str() == member);
            let follows = here.is_some_and(|here| here.follows == term);
            group.role == role && group.promised == term && follows
        })
        .await;
    }

    /// Takes over on a system.
    ///
    /// # Errors
    /// What the command says.
    pub async fn take_over(
        &self,
        member: &str,
        accept_loss: bool,
    ) -> Result<TakeoverReport, CommandError> {
        let take = TakeOver {
            group: None,
            accept_loss,
            plan: false,
            // Who is alive is heard, however busy the machine is.
            wait_ms: if accept_loss { 500 } else { 3_000 },
        };
        self.system(member).run(take).await
    }

    /// Hands the role over.
    ///
    /// # Errors
    /// What the command says.
    pub async fn switch(&self, from: &str, to: &str) -> Result<SwitchReport, CommandError> {
        let switch = SwitchPrimary {
            group: None,
            to: Some(SystemName::new(to).expect("a name")),
            plan: false,
            abort: false,
            drain_ms: 200,
            behind_max: 10_000,
        };
        match self.system(from).run(switch).await? {
            Switched::To(report) => Ok(report),
            Switched::Back { .. } => panic!("not what was asked for"),
        }
    }

    /// Hands the role over, and waits until the other has opened, however busy it is.
    pub async fn switched(&self, from: &str, to: &str, term: u64) {
        match self.switch(from, to).await {
            Ok(report) => assert_eq!(report.term, Some(term), "{report:?}"),
            Err(error) => assert_eq!(error.id, "RJN7112", "{error}"),
        }
        self.settled(to, MemberRole::Primary, term).await;
    }

    /// What stands against handing the role over, to whom is ready first.
    pub async fn switch_plan(&self, from: &str) -> SwitchReport {
        let plan = SwitchPrimary {
            group: None,
            to: None,
            plan: true,
            abort: false,
            drain_ms: 0,
            behind_max: 10_000,
        };
        match self.system(from).run(plan).await {
            Ok(Switched::To(report)) => report,
            other => panic!("no plan: {other:?}"),
        }
    }

    /// Deposits a text in the journal of the primary, which is tried until it lands; gives its class and number.
    pub async fn deposit(&self, primary: &str, text: &str) -> (AckClass, Sequence) {
        let system = self.system(primary);
        let draft = Draft::new(Kind::USER, text.as_bytes());
        let tries = async {
            loop {
                let journal = system.journal_when_open(own(primary), PATIENCE).await;
                // One that was just handed the role waits a moment for the other.
                if let Ok(ticket) = journal.expect("an open journal").deposit(&draft).await {
                    return ticket;
                }
                tokio::task::yield_now().await;
            }
        };
        let ticket = tokio::time::timeout(PATIENCE, tries).await;
        let ticket = ticket.expect("a deposit that is taken");
        let answer = tokio::time::timeout(PATIENCE, ticket).await;
        match answer.expect("an answer in time") {
            Answer::Landed {
                class, sequence, ..
            } => (class, sequence),
            other => panic!("not landed: {other:?}"),
        }
    }

    /// Deposits until one is answered SYNC: everybody who should be is in the in-sync set then, or somebody is.
    pub async fn deposit_sync(&self, primary: &str, text: &str) -> Sequence {
        let deposits = async {
            loop {
                let (class, sequence) = self.deposit(primary, text).await;
                if class == AckClass::Sync {
                    return sequence;
                }
            }
        };
        tokio::time::timeout(PATIENCE, deposits)
            .await
            .expect("in time")
    }

    /// Waits until two systems hold the same of a journal.
    pub async fn equal(&self, one: (&str, &str), other: (&str, &str)) {
        until(async || {
            let ours = describe(self.system(one.0), one.1).await.watermarks;
            let theirs = describe(self.system(other.0), other.1).await.watermarks;
            ours.head == theirs.head && ours.sealed == theirs.sealed
        })
        .await;
    }
}

/// What takes no deposits takes none for this long.
const MOMENT: Duration = Duration::from_millis(100);
