//! Package `tests`, groups under seeds: what a member answers when another asks something of it; in the daemon's order.

use rjournal::entry::control_entry::Level;
use rjournal::entry::{Epoch, JournalId, Place, Position, Sequence};
use rjournal::remote::{
    Extent, PartnerReply, PartnerRequest, Purpose, Refusal, RefusalCode, SessionFacts, ShipLimit,
    SourceSession,
};
use rjournal::role::Chore;

use super::line::{Body, Mail, Owner};
use super::member::FeedSide;
use super::world::Here;

impl Here {
    /// Answers another member.
    pub(super) async fn answer(self, from: usize, call: u64, request: PartnerRequest) {
        self.pause().await;
        let reply = match request {
            PartnerRequest::Group(news) => {
                let told = news.lineage.last().map_or(0, |record| record.term);
                if let Err(text) = self.take_news(from, &news).await {
                    refused(text)
                } else {
                    self.take_what_is_handed().await;
                    let behind = self.look(|at| at.lineage.term()) > told;
                    let changed = news.follows > 0 && behind;
                    let before = self.up(|up| up.followed.insert(news.system, news.follows));
                    if changed || before != Some(news.follows) {
                        self.wake();
                    }
                    PartnerReply::Group(Box::new(self.group_news()))
                }
            }
            PartnerRequest::Promise(asked) => match self.promise(from, &asked).await {
                Ok(told) => PartnerReply::Promise(Box::new(told)),
                Err(text) => refused(text),
            },
            PartnerRequest::Feed {
                journal,
                epoch,
                upto,
                ..
            } => {
                return self.serve_feed(from, call, (journal, epoch), upto);
            }
            _ => refused("not answered here".to_owned()),
        };
        self.reply(from, call, reply);
    }

    /// Who hands over waits for this answer: the pause of its programs ends with it.
    async fn take_what_is_handed(&self) {
        if self.seen().handed_to_me().is_none() {
            return;
        }
        let turn = self.up(|up| up.turn.clone());
        let _turn = turn.hold().await;
        self.pause().await;
        if let Some(Chore::TakeOverHanded { from, handed, at }) = self.seen().handed_to_me()
            && let Some(from) = self.world.number_of(from)
        {
            drop(self.take_handed(from, handed, at).await);
        }
    }

    fn reply(&self, to: usize, call: u64, reply: PartnerReply) {
        if !self.world.is_up(self.me) {
            return;
        }
        self.world.line.borrow_mut().mails.push(Mail {
            call,
            from: self.me,
            to,
            life: self.world.members[to].borrow().life,
            body: Body::Reply(Box::new(reply)),
        });
    }

    /// A member asks to be fed: the reply first, then the session.
    fn serve_feed(
        &self,
        to: usize,
        call: u64,
        (journal, epoch): (JournalId, Epoch),
        upto: Option<Sequence>,
    ) {
        let Some(feed) = self.feed_side(to, journal, epoch, upto) else {
            return self.reply(to, call, refused("it is not open".to_owned()));
        };
        let upto = feed.session.extent().tip;
        let Some(writer) = self.world.writer_of(journal) else {
            return;
        };
        let id = {
            let mut line = self.world.line.borrow_mut();
            let id = line.connect(self.me, to, Owner::Feed, writer);
            line.feeding.insert(call, id);
            id
        };
        self.up(|up| up.feeds.insert(id, feed));
        self.reply(to, call, PartnerReply::Feeding { upto });
        self.world.pump(self.me);
    }

    fn feed_side(
        &self,
        to: usize,
        journal: JournalId,
        epoch: Epoch,
        upto: Option<Sequence>,
    ) -> Option<FeedSide> {
        let group = &self.world.group;
        let writer = self.world.writer_of(journal)?;
        let here = group.name_at(self.id(), journal)?;
        let there = group.name_at(group.members[to].system, journal)?;
        let name = self.world.members[self.me].borrow().name;
        let source = self.up(|up| up.sides[writer].source())?;
        let reader = source.reader();
        let (oldest, written) = (reader.oldest(), source.marks(ShipLimit::Written).shippable);
        let written = upto.map_or(written, |upto| written.min(upto));
        let head = reader.head_at(written).ok()?;
        let tip = head.map_or(oldest, |head| Position {
            sequence: written,
            head,
        });
        let session = self.world.line.borrow_mut().number();
        let facts = SessionFacts {
            session,
            purpose: Purpose::Replicate,
            journal,
            source_journal: here,
            target_journal: there,
            system: self.id(),
            system_name: name,
            target: group.members[to].system,
            path: Vec::new(),
            epoch,
            extent: Extent { oldest, tip },
            begin: oldest,
            tip_epoch: Epoch::NONE,
            place: Place::default(),
            acknowledged: Sequence::NONE,
            level: Level::Written,
            limit: ShipLimit::Written,
            sync: false,
        };
        let upto = tip.sequence;
        let marks = FeedSide::marks(&source, epoch, upto);
        let session = SourceSession::new(facts, marks, self.now());
        Some(FeedSide {
            source,
            session,
            upto,
        })
    }
}

fn refused(text: String) -> PartnerReply {
    PartnerReply::Refused(Refusal {
        code: RefusalCode::NotAuthorised,
        source: Sequence::NONE,
        target: Sequence::NONE,
        fork: None,
        text,
    })
}
