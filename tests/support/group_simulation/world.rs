//! Package `tests`, groups under seeds: everything there is, what time it is, and the place from which a member's tasks see it.
//! Must not know what anybody does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use rjournal::entry::{JournalId, Moment, SystemId, Timestamp};
use rjournal::remote::Group;
use rjournal::role::Standing;

use super::clients::Ledger;
use super::goals::{Goal, Goals, Step};
use super::line::Line;
use super::member::{Member, Up};
use super::proof::hash;
use super::task::{Tasks, found, next_poll};
use super::truth::{Counts, Truth};
use super::wrong::Wrong;
use crate::seed::Seed;

thread_local! {
    static STORY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What happened in the last run of this thread, line by line: milliseconds, member, what.
pub fn story() -> Vec<String> {
    STORY.with_borrow(Clone::clone)
}

/// Everything.
pub(super) struct World {
    pub(super) now: Cell<Moment>,
    seed: RefCell<Seed>,
    pub(super) group: Group,
    pub(super) members: Vec<RefCell<Member>>,
    pub(super) line: RefCell<Line>,
    pub(super) tasks: Tasks,
    pub(super) truth: RefCell<Truth>,
    pub(super) counts: RefCell<Counts>,
    pub(super) goals: RefCell<Goals>,
    pub(super) ledger: RefCell<Ledger>,
    /// The mistake that is made in this run.
    pub(super) wrong: Option<Wrong>,
    /// No more faults.
    pub(super) healing: Cell<bool>,
    moved: Cell<u64>,
    trace: Cell<u64>,
    /// When tasks want to go on.
    sleeps: RefCell<BTreeSet<Moment>>,
}

impl World {
    pub(super) fn new(
        group: Group,
        members: Vec<Member>,
        seed: Seed,
        wrong: Option<Wrong>,
    ) -> Rc<Self> {
        STORY.with_borrow_mut(Vec::clear);
        Rc::new(Self {
            now: Cell::new(Moment::from_start(Duration::from_secs(1))),
            seed: RefCell::new(seed),
            group,
            members: members.into_iter().map(RefCell::new).collect(),
            line: RefCell::default(),
            tasks: Tasks::default(),
            truth: RefCell::default(),
            counts: RefCell::default(),
            goals: RefCell::default(),
            ledger: RefCell::default(),
            wrong,
            healing: Cell::new(false),
            moved: Cell::new(0),
            trace: Cell::new(0),
            sleeps: RefCell::default(),
        })
    }

    pub(super) fn draw(&self) -> u64 {
        self.seed.borrow_mut().draw()
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        self.seed.borrow_mut().below(bound as u64) as usize
    }

    /// True `times` times in a thousand.
    pub(super) fn per_mille(&self, times: u64) -> bool {
        self.seed.borrow_mut().per_mille(times)
    }

    /// Wall clock: a fixed day plus the monotonic time.
    pub(super) fn wall(&self) -> Timestamp {
        let micros = u64::try_from(self.now.get().elapsed().as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(1_700_000_000_000_000 + micros)
    }

    /// Something went on.
    pub(super) fn moved(&self) {
        self.moved.set(self.moved.get() + 1);
    }

    /// How often something went on.
    pub(super) fn moves(&self) -> u64 {
        self.moved.get()
    }

    /// A run came past something it was to come past.
    pub(super) fn reach(&self, goal: Goal) {
        self.goals.borrow_mut().reach(goal);
    }

    /// What a member is in the middle of.
    pub(super) fn step_of(&self, member: usize) -> Option<Step> {
        self.members[member].borrow().up.as_ref()?.step
    }

    /// Puts something a reader wants to know into the story of the run.
    pub(super) fn say(&self, who: usize, what: impl FnOnce() -> String) {
        let at = self.now.get().elapsed().as_millis();
        STORY.with_borrow_mut(|story| story.push(format!("{at:>7} {who} {}", what())));
    }

    /// Puts something into the trace of the run.
    pub(super) fn note(&self, what: u64) {
        self.trace.set(hash(self.trace.get(), &what.to_le_bytes()));
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Number of a system of the group.
    pub(super) fn number_of(&self, system: SystemId) -> Option<usize> {
        let mut members = self.group.members.iter();
        members.position(|member| member.system == system)
    }

    /// Journals by the members that write them.
    pub(super) fn journals(&self) -> Vec<JournalId> {
        let members = self.group.members.iter();
        members.map(|member| member.journal).collect()
    }

    /// Number of the member that writes a journal.
    pub(super) fn writer_of(&self, journal: JournalId) -> Option<usize> {
        let mut members = self.group.members.iter();
        members.position(|member| member.journal == journal)
    }

    /// Whether the process of a member runs, and its disk has power.
    pub(super) fn is_up(&self, member: usize) -> bool {
        let member = self.members[member].borrow();
        member.up.is_some() && !member.disk.is_dead()
    }

    /// When the next task wants to go on.
    pub(super) fn next_pause(&self) -> Option<Moment> {
        let mut sleeps = self.sleeps.borrow_mut();
        let now = self.now.get();
        while sleeps.first().is_some_and(|due| *due <= now) {
            sleeps.pop_first();
        }
        sleeps.first().copied()
    }

    pub(super) fn sleeps_until(&self, due: Moment) {
        self.sleeps.borrow_mut().insert(due);
    }
}

/// A member, as its tasks see the world.
#[derive(Clone)]
pub(super) struct Here {
    pub(super) world: Rc<World>,
    pub(super) me: usize,
}

impl Here {
    pub(super) fn id(&self) -> SystemId {
        self.world.group.members[self.me].system
    }

    pub(super) fn now(&self) -> Moment {
        self.world.now.get()
    }

    /// What runs of this member. Tasks of a member that is down are gone.
    pub(super) fn up<T>(&self, look: impl FnOnce(&mut Up) -> T) -> T {
        let mut member = self.world.members[self.me].borrow_mut();
        look(member.up.as_mut().expect("tasks end with the process"))
    }

    /// What this member is in the middle of from now on.
    pub(super) fn begin_step(&self, step: Option<Step>) {
        if step.is_some() && !self.world.healing.get() && self.world.per_mille(25) {
            // Power is lost right there.
            let soon = 1 + self.world.below(3) as u64;
            let disk = &self.world.members[self.me].borrow().disk;
            disk.die_at_sync(disk.syncs() + soon);
        }
        self.up(|up| up.step = step);
    }

    pub(super) fn standing(&self) -> Standing {
        self.up(|up| up.standing.get().clone())
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Standing) -> T) -> T {
        self.up(|up| look(up.standing.get()))
    }

    /// Changes the standing durably.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> Result<T, String> {
        let changed = self.up(|up| up.standing.update(change));
        self.world.look_at_standing(self.me);
        changed
    }

    /// Changes the standing when a claim is made or promised.
    pub(super) fn update_claim<T>(
        &self,
        change: impl FnOnce(&mut Standing) -> T,
    ) -> Result<T, String> {
        if self.world.wrong == Some(Wrong::ClaimNotDurable) {
            return Ok(self.up(|up| up.standing.update_unsaved(change)));
        }
        self.update(change)
    }

    /// Anything else may happen here.
    pub(super) async fn pause(&self) {
        next_poll().await;
        self.world.moved();
    }

    /// Waits for what `look` finds.
    pub(super) async fn found<T>(&self, look: impl FnMut() -> Option<T>) -> T {
        let found = found(look).await;
        self.world.moved();
        found
    }

    /// Waits until this moment, or until `look` finds something earlier.
    pub(super) async fn found_before<T>(
        &self,
        due: Moment,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        self.world.sleeps_until(due);
        let world = Rc::clone(&self.world);
        self.found(move || match look() {
            Some(found) => Some(Some(found)),
            None if world.now.get() >= due => Some(None),
            None => None,
        })
        .await
    }

    /// Waits this long.
    pub(super) async fn rest_for(&self, time: Duration) {
        let due = self.now() + time;
        self.found_before(due, || None::<()>).await;
    }

    /// Begins a task.
    pub(super) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + 'static) {
        let life = self.world.members[self.me].borrow().life;
        self.world.tasks.spawn((self.me, life), name, work);
    }

    /// Has the group's task look at once.
    pub(super) fn wake(&self) {
        self.up(|up| up.woken = true);
    }
}
