//! Package `tests`, the pair: deposits by name, and what their clients were told.

use rjournal::entry::{ClientId, DepositKey, Draft, Kind};
use rjournal::error::DepositError;
use rjournal::journal::{AckClass, Answer, Ticket};

use super::{Pair, Said};
use crate::node::OpenSide;

impl Pair {
    /// The open side of the source.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn open(&mut self) -> &mut OpenSide {
        self.cluster.open_mut().expect("an open journal")
    }

    /// The payload of a deposit: its number and filling.
    pub fn payload(&mut self, name: &'static str, filling: usize) -> Vec<u8> {
        let id = self.cluster.deposits;
        self.cluster.deposits += 1;
        self.ids.insert(name, id);
        self.payload_again(name, filling)
    }

    /// The payload of a deposit made before.
    pub fn payload_again(&self, name: &str, filling: usize) -> Vec<u8> {
        let id = self.ids[name];
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + filling, id as u8);
        payload
    }

    /// Deposits an entry; its answer comes later. Nothing else happens.
    pub fn deposit(&mut self, name: &'static str) -> &mut Self {
        drop(self.try_deposit(name, 10));
        self
    }

    /// Deposits entries of about 100 KB each, as much as the journal is asked for.
    pub fn deposit_large(&mut self, name: &'static str) -> &mut Self {
        let taken = self.try_deposit(name, 100_000);
        if matches!(taken, Err(DepositError::Busy)) {
            self.cluster.prepare_spare();
            self.seal().write();
            drop(self.try_deposit(name, 100_000));
        }
        self
    }

    /// Deposits an entry and says whether it was taken.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn try_deposit(
        &mut self,
        name: &'static str,
        filling: usize,
    ) -> Result<Ticket, DepositError> {
        let payload = self.payload(name, filling);
        self.try_draft(name, &Draft::new(Kind::USER, &payload))
    }

    /// Deposits an entry under a key; a retry repeats name and key.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn deposit_keyed(&mut self, name: &'static str, key: u64) -> Result<Ticket, DepositError> {
        let payload = if self.ids.contains_key(name) {
            self.payload_again(name, 10)
        } else {
            self.payload(name, 10)
        };
        let draft = Draft {
            key: Some(DepositKey {
                client: ClientId::from_bytes([7; 16]),
                key,
            }),
            ..Draft::new(Kind::USER, &payload)
        };
        self.try_draft(name, &draft)
    }

    /// Deposits a draft under a name.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn try_draft(
        &mut self,
        name: &'static str,
        draft: &Draft<'_>,
    ) -> Result<Ticket, DepositError> {
        let id = self.ids[name];
        let wall = self.cluster.wall();
        let taken = match self.cluster.open_mut() {
            Some(open) => open.journal.deposit(draft, wall),
            None => Err(DepositError::NotOpen),
        };
        match &taken {
            Ok(ticket) => self.cluster.ledger.taken(id, ticket.clone()),
            // Nobody was told anything: the same deposit comes again in a moment.
            Err(DepositError::Busy) => {}
            Err(_) => self.cluster.ledger.refused(id),
        }
        taken
    }

    /// What the last client that deposited under this name was told.
    ///
    /// # Panics
    /// When nobody did.
    pub fn said(&mut self, name: &str) -> Said {
        self.cluster.ledger.look();
        let id = self.ids[name];
        let deposits = self.cluster.ledger.deposits();
        let last = deposits.iter().rev().find(|deposit| deposit.id == id);
        match last.expect("it was deposited").answer {
            None => Said::Nothing,
            Some(Answer::Refused { .. }) => Said::Refused,
            Some(Answer::Unknown { .. }) => Said::Unknown,
            Some(Answer::Landed { class, .. }) => match class {
                AckClass::Sync => Said::Sync,
                AckClass::Received => Said::Received,
                AckClass::Local => Said::Local,
            },
        }
    }

    /// Asserts what a client was told.
    ///
    /// # Panics
    /// When it was something else.
    #[track_caller]
    pub fn answers(&mut self, name: &str, expected: Said) -> &mut Self {
        let said = self.said(name);
        assert_eq!(
            said,
            expected,
            "the answer to {name}\n{}",
            self.cluster.describe()
        );
        self
    }
}
