//! Package `tests`, groups under seeds: one run: one seed decides what happens next, until everything is healed and must be level.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rjournal::disk::{Disk, MemoryDisk};
use rjournal::entry::control_entry::{Level, OpenReason};
use rjournal::entry::{
    ChainHead, GroupId, JournalId, Position, Proof, RdbName, Sequence, SystemId, SystemName,
    TermReason, TermRecord, Timestamp,
};
use rjournal::journal::{
    AckClass, Attributes, Copy, DeliveryMode, LinkRecord, NewJournal, Recovered, SourceRecord,
};
use rjournal::remote::{Group, GroupMember, MemberRole};
use rjournal::role::{Lineage, Standing};

use super::goals::Goals;
use super::line::Body;
use super::member::{Member, dir_of};
use super::mood::Mood;
use super::proof::{hash, sign};
use super::standing_file::StandingFile;
use super::truth::Counts;
use super::world::World;
use super::wrong::Wrong;
use crate::cluster::quick;
use crate::seed::{Seed, SeededEntropy};

/// How a run went, equal for equal seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over everything that happened, in order, and over all disks at the end.
    pub trace: u64,
    /// Deposits answered SYNC and LOCAL.
    pub answered: (usize, usize),
    /// What happened how often.
    pub counts: Counts,
    /// What it came past.
    pub goals: Goals,
}

impl Outcome {
    /// Whether something was answered SYNC and a role changed: else the run says nothing.
    pub const fn counts(&self) -> bool {
        self.answered.0 > 0 && self.counts.terms > 1
    }
}

/// Runs one seed with so many members. Panics when a checker finds something.
pub fn run(seed: u64, members: usize) -> Outcome {
    run_with(seed, members, None)
}

/// Runs one seed with a mistake in it, which the checkers must find.
pub fn run_wrong(seed: u64, members: usize, wrong: Wrong) -> Outcome {
    run_with(seed, members, Some(wrong))
}

/// A run is over, however it came to its end. Tasks hold the world that holds them: nothing of it would ever be given back.
struct Over<'a>(&'a World);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.tasks.clear();
        for member in &self.0.members {
            if let Ok(mut member) = member.try_borrow_mut() {
                member.up = None;
            }
        }
    }
}

fn run_with(number: u64, members: usize, wrong: Option<Wrong>) -> Outcome {
    let mut seed = Seed::new(number);
    let mood = Mood::draw(&mut seed, members);
    let world = make(&mood, seed, wrong);
    let _over = Over(&world);
    for _ in 0..mood.steps {
        world.step(&mood);
    }
    world.heal();
    world.check();
    let ledger = world.ledger.borrow();
    Outcome {
        trace: hash(world.trace(), &world.disks().to_le_bytes()),
        answered: (
            ledger.answered(AckClass::Sync),
            ledger.answered(AckClass::Local),
        ),
        counts: *world.counts.borrow(),
        goals: *world.goals.borrow(),
    }
}

fn system(number: usize) -> SystemId {
    SystemId::from_bytes([number as u8 + 1; 16])
}

/// Makes the members and the group, and starts them.
fn make(mood: &Mood, mut seed: Seed, wrong: Option<Wrong>) -> Rc<World> {
    let wall = Timestamp::from_micros(1_700_000_000_000_000);
    let mut attributes = quick(mood.policy);
    attributes.local_first = mood.local_first;
    let members: Vec<Member> = (0..mood.members).map(new_member).collect();
    let mut group = Group {
        id: GroupId::from_bytes([99; 16]),
        name: "ORDERS".parse().expect("a name"),
        version: 1,
        members: members
            .iter()
            .enumerate()
            .map(|(n, m)| defined(n, m))
            .collect(),
        sync: mood.sync,
        text: String::new(),
    };
    let mut made = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let recovered = Recovered::create(
            member.shared_disk(),
            &dir_of(number),
            member.owner(),
            NewJournal {
                name: group.members[number].own,
                first_receiver: format!("LIB{number}/RCV0001").parse().expect("a name"),
                attributes: attributes.clone(),
            },
            &SeededEntropy::new(seed.draw()),
            wall,
        );
        let recovered = recovered.expect("a live disk");
        group.members[number].journal = recovered.control().journal;
        made.push(recovered);
    }
    for (number, recovered) in made.iter_mut().enumerate() {
        let links = links(&group, number);
        recovered
            .update(|control| control.links = links)
            .expect("a live disk");
    }
    let first = made.remove(0);
    let entropy = Arc::new(SeededEntropy::new(seed.draw()));
    let (journal, _writer) = first
        .open_for_deposits(OpenReason::Created, (0, 0), entropy, wall)
        .expect("a live disk");
    let mut record = TermRecord {
        group: group.id,
        term: journal.epoch().term,
        primary: system(0),
        journal: journal.id(),
        begins: Position {
            sequence: Sequence::NONE,
            head: ChainHead::genesis(journal.id()),
        },
        epoch: journal.epoch(),
        closed: None,
        reason: TermReason::Created,
        opened_at: wall,
        proof: Proof::NONE,
    };
    record.proof = sign(system(0), &record.signed_bytes());
    let lineage = Lineage::read(&group, vec![record], |_| true).expect("a lineage");
    for (number, member) in members.iter().enumerate() {
        furnish(&group, number, member, &attributes, wall);
        let mut standing = Standing::new(group.clone(), lineage.clone());
        standing.flushed = 1;
        StandingFile::create(&member.shared_disk(), standing).expect("a live disk");
    }
    drop((made, journal));
    let world = World::new(group, members, seed, wrong);
    world.opened_term(0, &lineage);
    for member in 0..mood.members {
        world.start(member).expect("a fresh member");
    }
    world
}

fn new_member(number: usize) -> Member {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("journals"))
        .and_then(|()| disk.sync_dir(Path::new("")))
        .expect("a live disk");
    Member {
        system: system(number),
        name: SystemName::new(&format!("SYS{number}")).expect("a name"),
        disk,
        life: 0,
        up: None,
        hurt: false,
        snapshot: None,
    }
}

fn defined(number: usize, member: &Member) -> GroupMember {
    GroupMember {
        system: member.system,
        name: member.name,
        fingerprint: [number as u8; 32],
        journal: JournalId::NONE,
        own: format!("LIB{number}/JRN{number}").parse().expect("a name"),
        library: format!("LIB{number}").parse().expect("a name"),
    }
}

/// The remote journals on the journal that a member writes.
fn links(group: &Group, number: usize) -> Vec<LinkRecord> {
    let me = &group.members[number];
    let others = group.others(me.system);
    let delivery = if group.sync {
        DeliveryMode::Sync
    } else {
        DeliveryMode::Async
    };
    let link = |other: &GroupMember| LinkRecord {
        rdb: RdbName::new(other.name.as_str()).expect("a name"),
        system: other.system,
        target: group.name_at(other.system, me.journal).expect("a member"),
        delivery,
        level: Level::Written,
        active: false,
        acknowledged: Sequence::NONE,
        needs_reinit: false,
        text: String::new(),
    };
    others.map(link).collect()
}

/// The copies a member lacks.
fn furnish(
    group: &Group,
    number: usize,
    member: &Member,
    attributes: &Attributes,
    wall: Timestamp,
) {
    for (writer, other) in group.members.iter().enumerate() {
        if writer == number {
            continue;
        }
        let source = SourceRecord {
            system: other.system,
            name: other.name,
            journal: other.own,
            path: Vec::new(),
        };
        let name = group
            .name_at(member.system, other.journal)
            .expect("a member");
        let made = Copy::create(
            member.shared_disk(),
            &dir_of(writer),
            other.journal,
            name,
            source,
            attributes.clone(),
            wall,
        );
        drop(made.expect("a live disk"));
    }
}

impl World {
    fn any(&self) -> usize {
        self.below(self.members.len())
    }

    /// One thing happens.
    fn step(self: &Rc<Self>, mood: &Mood) {
        let odds = [
            mood.crash,
            mood.crash_at_sync,
            mood.kill,
            mood.fail_sync,
            mood.start,
            mood.cut,
            mood.dark,
            mood.break_connection,
            mood.lose_mail,
            mood.tick,
            mood.long_tick,
            mood.change,
            mood.take_over,
            mood.switch,
            mood.abort,
            mood.alone,
            mood.lie,
            mood.restore,
        ];
        let mut drawn = self.below(1000) as u64;
        let chosen = odds.iter().position(|odd| {
            let hit = drawn < *odd;
            drawn = drawn.saturating_sub(*odd);
            hit
        });
        let me = self.any();
        self.note(chosen.map_or(99, |chosen| chosen as u64) << 8 | me as u64);
        match chosen {
            Some(0) if self.is_up(me) => {
                self.counts.borrow_mut().crashes += 1;
                self.crash(me, true);
            }
            Some(1) => self.arm_crash(me),
            Some(2) if self.is_up(me) => {
                self.counts.borrow_mut().kills += 1;
                self.crash(me, false);
            }
            Some(3) => self.arm_failing_sync(me),
            Some(4) => self.start_again(me),
            Some(5) => self.cut_or_mend(me),
            Some(6) => self.darken_or_lighten(me),
            Some(7) => {
                let connections = self.line.borrow().connections.len();
                let index = self.below(connections);
                self.line.borrow_mut().break_connection(index);
            }
            Some(8) => self.lose_mail(),
            Some(9) => {
                let millis = 1 + self.below(60) as u64;
                self.tick(Duration::from_millis(millis));
            }
            Some(10) => self.tick(Duration::from_millis(2_500)),
            Some(11) => self.order_change(me),
            Some(12) => {
                let accept_loss = self.per_mille(mood.accept_loss);
                self.order_takeover(me, accept_loss);
            }
            Some(13) => {
                let to = self.any();
                let from = self.primary().unwrap_or(me);
                self.order_switch(from, to);
            }
            Some(14) => {
                let mut all = 0..self.members.len();
                let handed =
                    |of: &usize| self.is_up(*of) && self.here(*of).role() == MemberRole::HandedOver;
                self.order_abort(all.find(handed).unwrap_or(me));
            }
            Some(15) => self.order_alone(me),
            Some(16) => {
                let to = self.any();
                self.lie(me, to);
            }
            Some(17) => self.set_back(me),
            _ => {
                let mut at = me;
                for _ in 0..mood.eager {
                    if self.work(at) {
                        break;
                    }
                    at = self.any();
                }
            }
        }
        self.bury_the_dead();
    }

    /// A step without a fault. Says whether there was something to do.
    fn work(self: &Rc<Self>, me: usize) -> bool {
        match self.below(16) {
            0..=3 => self.go_on_with_a_task(),
            4 | 5 => {
                let mails = self.line.borrow().mails.len();
                let index = self.below(mails);
                let can = mails > 0 && self.can_arrive(index);
                if can {
                    self.deliver_mail(index);
                }
                can
            }
            6 | 7 => {
                let connections = self.line.borrow().connections.len();
                let index = self.below(connections);
                connections > 0 && self.deliver_forth(index)
            }
            8 | 9 => {
                let connections = self.line.borrow().connections.len();
                let index = self.below(connections);
                connections > 0 && self.deliver_back(index)
            }
            10 => {
                let journal = self.any();
                self.flush(me, journal)
            }
            11 => self.seal(me),
            12 => self.write(me),
            13 => {
                let dials = self.line.borrow().dials.len();
                let index = self.below(dials);
                if dials > 0 {
                    self.answer_dial(index);
                }
                dials > 0
            }
            _ => {
                if self.below(40) == 0 {
                    self.prepare_spares(me);
                }
                let filling = self.below(3000);
                self.deposit(me, filling, false)
            }
        }
    }

    /// One task that can, goes on.
    pub(super) fn go_on_with_a_task(self: &Rc<Self>) -> bool {
        let count = self.tasks.count();
        let before = self.moves();
        let first = self.below(count);
        for index in 0..count {
            let count = self.tasks.count();
            if count == 0 {
                return false;
            }
            self.tasks.poll((first + index) % count);
            if self.moves() != before {
                return true;
            }
        }
        false
    }

    /// Whoever's disk died is dead.
    pub(super) fn bury_the_dead(&self) {
        for me in 0..self.members.len() {
            let dead = self.members[me].borrow().disk.is_dead();
            if dead {
                self.counts.borrow_mut().crashes += 1;
                self.crash(me, true);
            }
        }
        self.ledger.borrow_mut().look(self);
    }

    /// Power is lost at one of the next syncs.
    fn arm_crash(&self, me: usize) {
        let soon = 1 + self.below(6) as u64;
        let member = self.members[me].borrow();
        if member.up.is_some() {
            member.disk.die_at_sync(member.disk.syncs() + soon);
        }
    }

    fn arm_failing_sync(&self, me: usize) {
        let soon = 1 + self.below(6) as u64;
        self.counts.borrow_mut().failed_syncs += 1;
        let mut member = self.members[me].borrow_mut();
        member.disk.fail_sync(member.disk.syncs() + soon);
        member.hurt = true;
    }

    /// A member that is down, or that cannot go on as it is, is started.
    pub(super) fn start_again(self: &Rc<Self>, me: usize) {
        if self.is_up(me) {
            if !self.has_failed(me) {
                return;
            }
            self.counts.borrow_mut().kills += 1;
            self.say(me, || "is stopped: it failed".to_owned());
            self.crash(me, false);
        }
        if let Err(text) = self.start(me) {
            let member = self.members[me].borrow();
            let excused = member.disk.is_dead() || member.hurt;
            assert!(excused, "member {me} does not start: {text}");
        }
    }

    fn cut_or_mend(&self, me: usize) {
        let other = self.any();
        if me == other {
            return;
        }
        let mut line = self.line.borrow_mut();
        let pair = (me.min(other), me.max(other));
        self.say(me, || format!("cut or mended: {pair:?}"));
        if !line.cut.remove(&pair) {
            line.cut.insert(pair);
            for index in 0..line.connections.len() {
                let c = &line.connections[index];
                if (c.from.min(c.to), c.from.max(c.to)) == pair {
                    line.break_connection(index);
                }
            }
        }
    }

    fn darken_or_lighten(&self, me: usize) {
        let other = self.any();
        let mut line = self.line.borrow_mut();
        self.say(me, || format!("dark or light to {other}"));
        if me != other && !line.dark.remove(&(me, other)) {
            line.dark.insert((me, other));
        }
    }

    /// A request or an answer is lost.
    fn lose_mail(&self) {
        let mails = self.line.borrow().mails.len();
        let index = self.below(mails);
        if mails > 0 {
            let mut line = self.line.borrow_mut();
            let mail = line.mails.remove(index);
            if matches!(mail.body, Body::Reply(_)) {
                line.handle_unheard(mail.call);
            }
        }
    }

    /// Time goes on; whoever waits for it is told.
    pub(super) fn tick(self: &Rc<Self>, step: Duration) {
        self.now.set(self.now.get() + step);
        for me in 0..self.members.len() {
            if !self.is_up(me) {
                continue;
            }
            self.tick_sessions(me);
            self.tick_open(me);
            self.look_links(me);
            self.try_open(me);
        }
    }

    /// Hash over everything on all disks.
    fn disks(&self) -> u64 {
        let mut all = 0;
        for member in &self.members {
            let image = member.borrow().disk.image();
            for path in image.paths() {
                all = hash(all, path.to_string_lossy().as_bytes());
                let content = image.content(path).unwrap_or_default();
                let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                all = hash(all, &content[..used]);
            }
        }
        all
    }
}
