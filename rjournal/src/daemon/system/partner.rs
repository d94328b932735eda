//! Room `daemon`, a system: partners are called: connected to, and asked outside a session. Must not know what an answer
//! means.

use std::time::Duration;

use super::shared::Shared;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::entry::RdbName;
use crate::error::LinkError;
use crate::link::{LinkStream, Wired};
use crate::remote::{PartnerReply, PartnerRequest};

/// How long a partner may take to answer a request.
const ASK_MAX: Duration = Duration::from_secs(15);

impl Shared {
    /// Connects to a partner.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn dial(&self, rdb: RdbName) -> Result<LinkStream, LinkError> {
        let partner = self.catalog(|catalog| catalog.partners.get(&rdb).cloned());
        let Some(partner) = partner else {
            return Err(LinkError::NoPartner { rdb });
        };
        let Some(address) = partner.address else {
            return Err(LinkError::NoAddress { rdb });
        };
        let Some(endpoint) = self.endpoint() else {
            return Err(LinkError::NotCalling);
        };
        let resolved = tokio::net::lookup_host(&address).await;
        let mut addresses = resolved.map_err(|error| LinkError::Resolve {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        match addresses.next() {
            Some(found) => endpoint.connect(found, partner.fingerprint).await,
            None => Err(LinkError::Resolve {
                address: address.clone(),
                reason: "no address has this name".to_owned(),
            }),
        }
    }

    /// Asks a partner something outside a session.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(crate) async fn ask_partner(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
    ) -> Result<PartnerReply, CommandError> {
        let help = format!(
            "WRKRDBDIRE shows the entry; is {rdb} running, and does it know this system's key (DSPSYSID)?"
        );
        let ask = async {
            let mut stream = self.dial(rdb).await?;
            stream.send(&[Wired::Request(Box::new(request))]).await?;
            let answer = stream.receive().await?;
            stream.finish().await;
            Ok::<_, LinkError>(answer)
        };
        match tokio::time::timeout(ASK_MAX, ask).await {
            Ok(Ok(Some(Wired::Reply(reply)))) => Ok(*reply),
            Ok(Ok(_)) => Err(CommandError::new(
                ErrorKind::Unreachable,
                "CPF70C5",
                format!("{rdb} gave no answer"),
            )
            .help(help)),
            Ok(Err(error @ LinkError::NoPartner { .. })) => Err(CommandError::new(
                ErrorKind::NotFound,
                "CPF9801",
                error.to_string(),
            )),
            Ok(Err(error)) => Err(CommandError::from(error).help(help)),
            Err(_) => Err(CommandError::new(
                ErrorKind::Unreachable,
                "CPF70C5",
                format!("{rdb} did not answer in time"),
            )
            .help(help)),
        }
    }
}
