//! Room `daemon`: the directory of partners (IBM i: RDB directory entries): who they are, where they are reached, what
//! they may do here.

use serde::{Deserialize, Serialize};

use super::{CommandError, Done};
use crate::daemon::catalog::{Partner, parse_pattern};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::accept::dismiss;
use crate::entry::{RdbName, SystemId, SystemName, Timestamp};
use crate::link::Fingerprint;

/// ADDRDBDIRE, CHGRDBDIRE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PutPartner {
    /// The partner's name here.
    pub rdb: RdbName,
    /// Fingerprint of its key, as DSPSYSID prints it there; needed to add, stays when changing.
    pub fingerprint: Option<Fingerprint>,
    /// Where it is reached, `host:port`; an empty text takes it away.
    pub address: Option<String>,
    /// Remote journals here it may make and feed.
    pub allow_journals: Option<Vec<String>>,
    /// Free text.
    pub text: Option<String>,
    /// Change an entry rather than add one.
    #[serde(default)]
    pub change: bool,
}

/// RMVRDBDIRE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemovePartner {
    /// The partner's name here.
    pub rdb: RdbName,
}

/// WRKRDBDIRE.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListPartners {}

/// A partner for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartnerDescription {
    /// Its name here.
    pub rdb: RdbName,
    /// Fingerprint of its key.
    pub fingerprint: Fingerprint,
    /// Its identity.
    pub system: SystemId,
    /// Where it is reached.
    pub address: Option<String>,
    /// Remote journals here it may make and feed.
    pub allowed_journals: Vec<String>,
    /// Free text.
    pub text: String,
}

/// What WRKRDBDIRE shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partners {
    /// The partners.
    pub partners: Vec<PartnerDescription>,
}

/// DSPSYSID.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeSystem {}

/// What DSPSYSID shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SystemDescription {
    /// Name.
    pub name: SystemName,
    /// Identity.
    pub system: SystemId,
    /// Fingerprint of the key, to be entered in partners' directories.
    pub fingerprint: Fingerprint,
    /// Where it listens.
    pub listen: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Version of the program.
    pub version: String,
}

impl Shared {
    pub(super) async fn put_partner(
        &self,
        request: PutPartner,
    ) -> Result<PartnerDescription, CommandError> {
        let allowed = match &request.allow_journals {
            Some(patterns) => {
                let parsed: Result<Vec<String>, String> = patterns
                    .iter()
                    .map(|pattern| parse_pattern(pattern))
                    .collect();
                Some(parsed.map_err(CommandError::invalid)?)
            }
            None => None,
        };
        if let Some(address) = request
            .address
            .as_deref()
            .filter(|address| !address.is_empty())
        {
            check_address(address)?;
        }
        if request.fingerprint == Some(self.fingerprint()) {
            let text = "that is this system's own fingerprint; enter the partner's, as DSPSYSID prints it there";
            return Err(CommandError::invalid(text));
        }
        let rdb = request.rdb;
        if request.change {
            self.require_member_kept(&request)?;
        }
        let (before, description) = self.update_catalog(|catalog| {
            let taken = catalog.partners.iter().find(|(name, partner)| {
                **name != rdb && Some(partner.fingerprint) == request.fingerprint
            });
            if let Some((name, _)) = taken {
                return Err(CommandError::refused(
                    "RJN4012",
                    format!("directory entry {name} has this fingerprint already"),
                ));
            }
            let before = catalog.partners.get(&rdb).cloned();
            let mut partner =
                match (&before, request.change) {
                    (Some(_), false) => {
                        return Err(CommandError::exists("directory entry", rdb)
                            .help("CHGRDBDIRE changes it"));
                    }
                    (None, true) => {
                        return Err(CommandError::not_found("directory entry", rdb)
                            .help("ADDRDBDIRE adds it"));
                    }
                    (Some(partner), true) => partner.clone(),
                    (None, false) => {
                        let fingerprint = request.fingerprint.ok_or_else(|| {
                            CommandError::invalid("the partner's fingerprint is needed")
                        })?;
                        let system = fingerprint.system_id();
                        Partner {
                            fingerprint,
                            system,
                            address: None,
                            allowed_journals: Vec::new(),
                            text: String::new(),
                        }
                    }
                };
            if let Some(fingerprint) = request.fingerprint {
                partner.fingerprint = fingerprint;
                partner.system = fingerprint.system_id();
            }
            if let Some(address) = request.address {
                partner.address = Some(address).filter(|address| !address.is_empty());
            }
            partner.allowed_journals = allowed.unwrap_or(partner.allowed_journals);
            partner.text = request.text.unwrap_or(partner.text);
            catalog.partners.insert(rdb, partner.clone());
            Ok((before, describe(rdb, &partner)))
        })?;
        self.refresh_keys();
        if let Some(before) = before {
            self.dismiss(before.system).await;
        }
        Ok(description)
    }

    /// A member of a recovery group keeps its key, and an address at which it can be asked.
    fn require_member_kept(&self, request: &PutPartner) -> Result<(), CommandError> {
        let rdb = request.rdb;
        let Some(known) = self.catalog(|catalog| catalog.partners.get(&rdb).cloned()) else {
            return Ok(());
        };
        let given = request.fingerprint;
        if given.is_some_and(|fingerprint| fingerprint != known.fingerprint) {
            let what = "another key would be another system";
            self.require_no_member(rdb, known.system, what)?;
        }
        if request.address.as_deref() == Some("") {
            let what = "without an address it could not be asked, nor fed";
            self.require_no_member(rdb, known.system, what)?;
        }
        Ok(())
    }

    /// Ends what a partner feeds here and may not feed any more.
    async fn dismiss(&self, system: SystemId) {
        for runtime in self.runtimes() {
            if let JournalRuntime::Copy(copy) = runtime
                && !self.may_feed(system, copy.copy.name())
            {
                copy.tell(dismiss(self, system, copy.copy.name())).await;
            }
        }
    }

    pub(super) async fn remove_partner(
        &self,
        request: &RemovePartner,
    ) -> Result<Done, CommandError> {
        let rdb = request.rdb;
        if let Some(known) = self.catalog(|catalog| catalog.partners.get(&rdb).cloned()) {
            self.require_no_member(rdb, known.system, "the members must reach each other")?;
        }
        let used = self.runtimes_by_name().into_iter().find(|(_, runtime)| {
            let records = runtime.link_records();
            records.iter().any(|record| record.rdb == rdb)
        });
        if let Some((journal, _)) = used {
            let text = format!("journal {journal} has a remote journal at {rdb}");
            return Err(CommandError::refused("RJN4013", text).help("remove it first: RMVRMTJRN"));
        }
        let partner = self.update_catalog(|catalog| {
            let partner = catalog.partners.remove(&rdb);
            partner.ok_or_else(|| CommandError::not_found("directory entry", rdb))
        })?;
        self.refresh_keys();
        self.end_loans(|loan| loan.system == partner.system)?;
        // It may connect no more; what is connected ends.
        self.dismiss(partner.system).await;
        Ok(Done {})
    }

    pub(super) fn list_partners(&self) -> Partners {
        let partners = self.catalog(|catalog| {
            catalog
                .partners
                .iter()
                .map(|(rdb, partner)| describe(*rdb, partner))
                .collect()
        });
        Partners { partners }
    }

    pub(super) fn describe_system(&self) -> SystemDescription {
        let record = self.record();
        SystemDescription {
            name: self.name,
            system: self.id,
            fingerprint: self.fingerprint(),
            listen: self.listening_on().map(|address| address.to_string()),
            created_at: record.created_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn describe(rdb: RdbName, partner: &Partner) -> PartnerDescription {
    PartnerDescription {
        rdb,
        fingerprint: partner.fingerprint,
        system: partner.system,
        address: partner.address.clone(),
        allowed_journals: partner.allowed_journals.clone(),
        text: partner.text.clone(),
    }
}

/// An address is `host:port`; the host may be a name.
fn check_address(address: &str) -> Result<(), CommandError> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let good = !host.is_empty()
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && !host.contains(char::is_whitespace);
    if good {
        Ok(())
    } else {
        Err(CommandError::invalid(format!(
            "{address:?} is not an address: host:port is needed"
        )))
    }
}
