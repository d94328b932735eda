//! Package `tests`: recovery groups of whole systems in this process, over real QUIC on loopback and real files.

use std::time::Duration;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::daemon::command::group::{
    CreateGroup, DescribeGroups, GroupBackup, GroupDescription, SwitchPrimary, Switched, TakeOver,
};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::{SwitchReport, TakeoverReport};
use rjournal::entry::{Draft, Kind, QualifiedName, Sequence, SystemName};
use rjournal::journal::{AckClass, Answer};
use rjournal::remote::MemberRole;
use rjournal::{CommandError, Config, System};
use tempfile::TempDir;

use crate::systems::{
    PATIENCE, Place, describe, journal, library, make_with, name, rdb, start, until,
};

/// Systems of one group, each with a library of its name and `LIB`; a place whose system is stopped holds none.
#[derive(Debug)]
pub struct Group {
    /// Where they live, and the systems that run.
    pub members: Vec<(Place, Option<System>)>,
    _dir: TempDir,
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
        Self::with(names, attributes, |_| {}).await
    }

    /// The same with other configurations.
    pub async fn with(
        names: &[&str],
        attributes: AttributePatch,
        configure: impl Fn(&mut Config),
    ) -> Self {
        let group = Self::strangers_with(names, attributes, configure).await;
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
            sync: true,
            text: String::new(),
            wait_ms: PATIENCE.as_millis() as u64,
        };
        let made = group.system("PRD").run(create).await;
        let made = made.expect("a group");
        assert!(
            made.members
                .iter()
                .all(|member| member.follows == made.promised),
            "{made:?}"
        );
        group
    }

    /// The same without the group.
    pub async fn strangers(names: &[&str], attributes: AttributePatch) -> Self {
        Self::strangers_with(names, attributes, |_| {}).await
    }

    async fn strangers_with(
        names: &[&str],
        attributes: AttributePatch,
        configure: impl Fn(&mut Config),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut members = Vec::new();
        for name in names {
            let (place, system) = make_with(dir.path(), name, &configure).await;
            library(&system, &format!("{name}LIB")).await;
            members.push((place, Some(system)));
        }
        for (place, system) in &members {
            for (other, _) in members.iter().filter(|(other, _)| other.data != place.data) {
                let entry = PutPartner {
                    rdb: rdb(other.identity.name.as_str()),
                    fingerprint: Some(other.identity.fingerprint),
                    address: Some(format!("127.0.0.1:{}", other.port)),
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
        Self { members, _dir: dir }
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
            wait_ms: Some(500),
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

    /// Deposits a text in the journal of the primary, which is tried until it lands; gives its class and number.
    pub async fn deposit(&self, primary: &str, text: &str) -> (AckClass, Sequence) {
        let system = self.system(primary);
        let journal = system.journal_when_open(own(primary), PATIENCE).await;
        let ticket = journal
            .expect("an open journal")
            .deposit(&Draft::new(Kind::USER, text.as_bytes()))
            .await
            .expect("a deposit that is taken");
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

/// A short pause between two looks at something that has no event.
pub const LOOK: Duration = Duration::from_millis(10);
