//! Package `rjournal-model`: the group as the checker sees it. Where it begins, which room a step is carried out in, and what
//! several rooms ask of a state.

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::{Model, Property};

use crate::actions::Action;
use crate::few::Few;
use crate::goals::Goal;
use crate::journal::{
    Entry, Epoch, InSync, Journal, Kind, MEMBERS_MAX, MemberId, PerMember, Policy, Term,
};
use crate::rules::{Broken, Configuration};
use crate::state::{Answer, Copied, Event, Member, Promise, Role, Seen, State, Store};

/// A recovery group under one configuration, with what a run has found so far. The latter is no part of a state: otherwise
/// it would multiply the states.
#[derive(Debug)]
pub struct Group {
    /// What the run is about.
    pub configuration: Configuration,
    /// Goals reached, a bit each.
    pub reached: AtomicU32,
    /// Properties that failed, a bit each: only the first failure counts, as its trace is the shortest.
    pub failed: AtomicU32,
}

impl Group {
    /// A group before its run.
    pub fn new(configuration: Configuration) -> Self {
        Self {
            configuration,
            reached: AtomicU32::new(0),
            failed: AtomicU32::new(0),
        }
    }

    /// The members.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..self.configuration.members).map(MemberId)
    }

    /// Is this rule left out?
    pub fn breaks(&self, rule: Broken) -> bool {
        self.configuration.broken.contains(&rule)
    }

    /// Notes that a goal is reached.
    pub fn reach(&self, goal: Goal) {
        self.reached.fetch_or(goal.bit(), Ordering::Relaxed);
    }

    /// Does the run ask what a policy promises? Otherwise nothing of it is followed, so that it multiplies no states.
    pub fn follows_policy(&self) -> bool {
        self.configuration.policy == Policy::Block || self.configuration.bounds.policy_changes > 0
    }

    /// Who feeds this member now: a primary in the epoch it has promised.
    pub fn session_of(&self, state: &State, id: MemberId) -> Option<MemberId> {
        let member = &state.members[id];
        let source = member.session?;
        let feeds = &state.members[source];
        let serves = feeds.role == Role::Primary && feeds.open || feeds.role == Role::HandedOver;
        let agreed = member.promise == feeds.promise
            && feeds.promise.to == source
            && member.session_boot[source] == feeds.boot;
        (feeds.up && serves && agreed).then_some(source)
    }

    /// The in-sync set a primary's own journal tells.
    pub fn set_of(&self, state: &State, id: MemberId) -> InSync {
        let own = state.members[id].copies[id].journal;
        own.entries()
            .iter()
            .rev()
            .find_map(Entry::set)
            .unwrap_or_default()
    }

    /// The first entry of a boot or a term, by the member in its own journal.
    pub fn open(&self, state: &mut State, id: MemberId, kind: Kind) {
        let entry = Entry {
            epoch: state.members[id].own_epoch(),
            kind,
        };
        let member = &mut state.members[id];
        member.copies[id].journal = member.copies[id].journal.with(entry);
        member.role = Role::Primary;
        member.open = true;
        member.session = None;
        member.acknowledged = PerMember::default();
        member.takeover = None;
        member.acknowledging = None;
        if self.opened_by_another(state, id, entry.epoch.term) {
            state.seen.note(Event::TermOpenedTwice);
        }
    }

    /// Has anybody else a journal with entries of this term?
    fn opened_by_another(&self, state: &State, id: MemberId, term: Term) -> bool {
        let of_term = |journal: Journal| {
            let mut entries = journal.entries().iter();
            entries.any(|entry| entry.epoch.term == term)
        };
        self.ids().filter(|journal| *journal != id).any(|journal| {
            let mut members = self.ids();
            members.any(|member| of_term(state.members[member].copies[journal].journal))
                || state
                    .orphans
                    .iter()
                    .any(|orphan| orphan.journal == journal && of_term(orphan.content))
        })
    }

    /// A member stops being primary: what waits is answered UNKNOWN.
    pub fn demote(&self, state: &mut State, id: MemberId) {
        unknown(state, id);
        let member = &mut state.members[id];
        member.role = Role::Backup;
        member.open = false;
        member.acknowledged = PerMember::default();
    }

    /// Drops what can have no effect any more: sessions that ended, acknowledgements that nobody will read.
    fn tidy(&self, state: &mut State) {
        for id in self.ids() {
            if self.session_of(state, id).is_none() && !self.breaks(Broken::LateFlushAcknowledged) {
                state.members[id].session = None;
            }
            let Some(late) = state.members[id].acknowledging else {
                continue;
            };
            let source = &state.members[late.source];
            let read = self.reads(state, late.source, late.epoch)
                && source.acknowledged[id] < late.flushed;
            if !read {
                state.members[id].acknowledging = None;
            }
        }
    }

    /// Does this member still wait for acknowledgements under this epoch?
    pub fn reads(&self, state: &State, id: MemberId, epoch: Epoch) -> bool {
        let member = &state.members[id];
        member.up && member.role == Role::Primary && member.open && member.own_epoch() == epoch
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Deposit(id) => self.deposit(state, id),
            Action::Begin(id) => self.begin(state, id),
            Action::Commit(id) => self.commit(state, id),
            Action::Flush(id) => self.flush(state, id),
            Action::Ship { from, to } => self.ship(state, from, to),
            Action::Confirm(id) => self.confirm(state, id),
            Action::AcknowledgementArrives(id) => self.acknowledgement_arrives(state, id),
            Action::Answer(id) => self.answer(state, id),
            Action::Join { primary, member } => {
                let members = self.set_of(state, primary).members.with(member);
                self.change_members(state, primary, members)
            }
            Action::Drop { primary, member } => {
                let members = self.set_of(state, primary).members.without(member);
                self.change_members(state, primary, members)
            }
            Action::ChangePolicy(id) => self.change_policy(state, id),
            Action::Crash(id) => self.crash(state, id),
            Action::Start(id) => {
                state.members[id].up = true;
                Some(())
            }
            Action::OpenAsking { primary, asked } => self.open_asking(state, primary, asked),
            Action::OpenAlone(id) => self.open_alone(state, id),
            Action::Restore { primary, last } => self.restore(state, primary, last),
            Action::Learn { member, from } => self.learn(state, member, from),
            Action::Complete { member, from } => self.complete(state, member, from),
            Action::Couple { primary, member } => self.couple(state, primary, member),
            Action::BeginTakeover(id) => self.begin_takeover(state, id),
            Action::Collect { member, from } => self.collect(state, member, from),
            Action::OpenTerm {
                member,
                accept_loss,
            } => self.open_term(state, member, accept_loss),
            Action::HandOver { primary, to } => self.hand_over(state, primary, to),
            Action::TakeHandOver(id) => self.take_hand_over(state, id),
            Action::AbortHandOver { primary, to } => self.abort_hand_over(state, primary, to),
            Action::Apply(id) => self.apply(state, id),
            Action::Forward => self.forward(state),
        }
    }
}

/// Everything that waits at this member is answered UNKNOWN.
pub(crate) fn unknown(state: &mut State, id: MemberId) {
    for answer in state.answers.iter_mut() {
        if *answer == Answer::Waiting(id) {
            *answer = Answer::Unknown;
        }
    }
}

impl Model for Group {
    type State = State;
    type Action = Action;

    /// Term 1 of member 0, opened, and coupled with everybody.
    fn init_states(&self) -> Vec<State> {
        let primary = MemberId(0);
        let first = Entry {
            epoch: Epoch { term: 1, boot: 1 },
            kind: Kind::Open {
                closes: None,
                set: InSync {
                    members: self.configuration.set,
                    policy: self.configuration.policy,
                },
            },
        };
        let copied = Copied {
            journal: Journal::EMPTY.with(first),
            flushed: 1,
            confirmed: 1,
            confirmed_flushed: 1,
            relied_on: 1,
        };
        let mut copies = PerMember([Copied::default(); MEMBERS_MAX]);
        copies[primary] = copied;
        let mut session_boot = PerMember::default();
        session_boot[primary] = 1;
        let backup = Member {
            up: true,
            role: Role::Backup,
            promise: Promise {
                term: 1,
                to: primary,
            },
            boot: 0,
            session_boot,
            known: 0,
            copies,
            store: Store {
                applied: 1,
                ..Store::default()
            },
            open: false,
            session: Some(primary),
            acknowledged: PerMember::default(),
            takeover: None,
            acknowledging: None,
        };
        let mut members = PerMember([backup; MEMBERS_MAX]);
        members[primary] = Member {
            role: Role::Primary,
            boot: 1,
            open: true,
            session: None,
            acknowledged: PerMember([1; MEMBERS_MAX]),
            ..backup
        };
        let mut downstream = PerMember::default();
        if self.configuration.downstream {
            downstream[primary] = copied.journal;
        }
        vec![State {
            members,
            answers: Few::none(),
            records: Few::none(),
            orphans: Vec::new(),
            downstream,
            used: crate::rules::Bounds::default(),
            seen: Seen::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action)?;
        self.tidy(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}
