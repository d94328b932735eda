//! Room `daemon`, the commands: what an operator or a program can ask of a system, as values. The same ones work embedded
//! ([`crate::daemon::System::run`]) and over the control socket ([`crate::daemon::Client::run`]). One file per noun, each
//! with its requests, its replies and what is done. Administrative commands run one at a time (failures.md CTL-2).

pub mod apply;
pub mod directory;
pub mod entries;
pub mod error;
mod execute;
pub mod file;
pub mod group;
pub mod group_health;
pub mod journal;
pub mod library;
pub mod load;
pub mod member;
pub mod orphan;
pub mod receiver;
pub mod remote_journal;
pub mod repair;
pub mod status;
pub mod verify;

use serde::{Deserialize, Serialize};

pub use error::{CommandError, ErrorKind};

/// A request with a typed reply.
pub trait Command: Sized {
    /// What is answered.
    type Reply;

    /// As it travels.
    fn into_request(self) -> Request;

    /// The reply, if it is this command's.
    fn from_reply(reply: Reply) -> Option<Self::Reply>;
}

/// Done, and nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident($request:ty) -> $reply:ty;)*) => {
        /// Every request.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Request {
            $($(#[$doc])* $variant($request),)*
        }

        /// Every reply.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reply {
            $($(#[$doc])* $variant($reply),)*
        }

        $(impl Command for $request {
            type Reply = $reply;

            fn into_request(self) -> Request {
                Request::$variant(self)
            }

            fn from_reply(reply: Reply) -> Option<$reply> {
                match reply {
                    Reply::$variant(reply) => Some(reply),
                    _ => None,
                }
            }
        })*
    };
}

commands! {
    /// CRTLIB.
    CreateLibrary(library::CreateLibrary) -> Done;
    /// DLTLIB.
    DeleteLibrary(library::DeleteLibrary) -> Done;
    /// CRTJRNRCV.
    CreateReceiver(receiver::CreateReceiver) -> Done;
    /// DLTJRNRCV.
    DeleteReceiver(receiver::DeleteReceiver) -> receiver::ReceiversDeleted;
    /// CRTJRN.
    CreateJournal(journal::CreateJournal) -> journal::JournalCreated;
    /// CHGJRN.
    ChangeJournal(journal::ChangeJournal) -> journal::JournalChanged;
    /// DLTJRN.
    DeleteJournal(journal::DeleteJournal) -> Done;
    /// WRKJRNA.
    DescribeJournals(journal::DescribeJournals) -> journal::JournalDescriptions;
    /// ADDRDBDIRE, CHGRDBDIRE.
    PutPartner(directory::PutPartner) -> directory::PartnerDescription;
    /// RMVRDBDIRE.
    RemovePartner(directory::RemovePartner) -> Done;
    /// WRKRDBDIRE.
    ListPartners(directory::ListPartners) -> directory::Partners;
    /// DSPSYSID.
    DescribeSystem(directory::DescribeSystem) -> directory::SystemDescription;
    /// ADDRMTJRN.
    AddRemoteJournal(remote_journal::AddRemoteJournal) -> remote_journal::RemoteJournalAdded;
    /// CHGRMTJRN.
    ChangeRemoteJournal(remote_journal::ChangeRemoteJournal) -> remote_journal::RemoteJournalChanged;
    /// RMVRMTJRN.
    RemoveRemoteJournal(remote_journal::RemoveRemoteJournal) -> Done;
    /// CRTPF.
    CreateFile(file::CreateFile) -> file::FileDescription;
    /// DLTF.
    DeleteFile(file::DeleteFile) -> Done;
    /// STRJRNPF.
    StartJournaling(file::StartJournaling) -> file::FileDescription;
    /// ENDJRNPF.
    EndJournaling(file::EndJournaling) -> file::FileDescription;
    /// WRKF.
    ListFiles(file::ListFiles) -> file::Files;
    /// Tells which files a store has: from an apply job whose system is primary.
    AdoptFiles(file::AdoptFiles) -> Done;
    /// SNDJRNE.
    SendEntry(entries::SendEntry) -> entries::EntrySent;
    /// DSPJRN.
    DisplayEntries(entries::DisplayEntries) -> entries::Entries;
    /// DSPDEP.
    FindDeposit(entries::FindDeposit) -> entries::DepositFound;
    /// STRAPY.
    StartApply(apply::StartApply) -> apply::JobDescription;
    /// ENDAPY.
    EndApply(apply::EndApply) -> apply::JobDescription;
    /// WRKAPY.
    ListJobs(apply::ListJobs) -> apply::Jobs;
    /// Tells where a store stands: from an apply job.
    ReportJob(apply::ReportJob) -> apply::JobDescription;
    /// RSTSTO from a partner: a save is fetched.
    LoadStore(load::LoadStore) -> Done;
    /// How far that is.
    DescribeLoad(load::DescribeLoad) -> load::LoadDescription;
    /// VERIFY.
    Verify(verify::Verify) -> verify::Verified;
    /// RPRJRN.
    RepairJournal(repair::RepairJournal) -> repair::Repaired;
    /// How far RPRJRN is.
    DescribeRepair(repair::DescribeRepair) -> repair::RepairStanding;
    /// CRTCRG.
    CreateGroup(group::CreateGroup) -> group::GroupDescription;
    /// CHGCRG.
    ChangeGroup(group::ChangeGroup) -> group::GroupDescription;
    /// DSPCRG.
    DescribeGroups(group::DescribeGroups) -> group::GroupDescriptions;
    /// DLTCRG.
    DeleteGroup(group::DeleteGroup) -> group::GroupDeleted;
    /// CHGCRGPRI.
    SwitchPrimary(group::SwitchPrimary) -> group::Switched;
    /// Takeover.
    TakeOver(group::TakeOver) -> crate::daemon::TakeoverReport;
    /// WHOISPRIMARY.
    WhoIsPrimary(group::WhoIsPrimary) -> group::PrimaryTold;
    /// ORPHANS LIST.
    ListOrphans(orphan::ListOrphans) -> orphan::Orphans;
    /// STATUS.
    DescribeStatus(status::DescribeStatus) -> status::Status;
    /// DSPMSG.
    ListMessages(status::ListMessages) -> status::MessageList;
}
