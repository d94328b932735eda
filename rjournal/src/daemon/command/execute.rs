//! Room `daemon`: from a request to what carries it out. Must not do anything itself.

use super::{CommandError, ErrorKind, Reply, Request};
use crate::daemon::system::Shared;

impl Shared {
    /// Carries out a request. Those that change anything run one at a time.
    pub(crate) async fn execute(&self, request: Request) -> Result<Reply, CommandError> {
        if self.is_stopping() {
            return Err(CommandError::new(
                ErrorKind::Refused,
                "RJN1005",
                "the system is stopping",
            ));
        }
        Ok(match request {
            Request::DescribeJournals(request) => {
                Reply::DescribeJournals(self.describe_journals(&request)?)
            }
            Request::DescribeStatus(_) => Reply::DescribeStatus(self.describe_status()),
            Request::ListMessages(request) => Reply::ListMessages(self.list_messages(&request)),
            Request::ListPartners(_) => Reply::ListPartners(self.list_partners()),
            Request::DescribeSystem(_) => Reply::DescribeSystem(self.describe_system()),
            Request::AdoptFiles(request) => Reply::AdoptFiles(self.adopt_files(request)?),
            Request::ListFiles(request) => Reply::ListFiles(self.list_files(&request)?),
            Request::ListOrphans(request) => Reply::ListOrphans(self.list_orphans(&request)?),
            Request::ListJobs(_) => Reply::ListJobs(self.list_jobs()),
            Request::SendEntry(request) => Reply::SendEntry(self.send_entry(request).await?),
            Request::DisplayEntries(request) => {
                Reply::DisplayEntries(self.display_entries(&request)?)
            }
            Request::FindDeposit(request) => Reply::FindDeposit(self.find_deposit(&request)?),
            Request::Verify(request) => Reply::Verify(self.verify(request).await?),
            Request::RepairJournal(request) => {
                Reply::RepairJournal(self.repair_journal(request).await?)
            }
            Request::DescribeRepair(_) => Reply::DescribeRepair(self.repairs.standing()),
            Request::DescribeLoad(request) => Reply::DescribeLoad(self.describe_load(&request)),
            Request::ReportJob(request) => Reply::ReportJob(self.report_job(request)?),
            Request::DescribeGroups(request) => {
                Reply::DescribeGroups(self.describe_groups(&request)?)
            }
            Request::WhoIsPrimary(request) => Reply::WhoIsPrimary(self.who_is_primary(&request)?),
            // The group itself sees to it that one is under way at a time.
            Request::SwitchPrimary(request) => {
                Reply::SwitchPrimary(Box::pin(self.switch_primary(request)).await?)
            }
            Request::TakeOver(request) => {
                Reply::TakeOver(Box::pin(self.take_over_group(request)).await?)
            }
            Request::CreateGroup(request) => {
                Reply::CreateGroup(Box::pin(self.create_recovery_group(request)).await?)
            }
            other => {
                let _admin = self.admin.lock().await;
                self.administer(other).await?
            }
        })
    }

    async fn administer(&self, request: Request) -> Result<Reply, CommandError> {
        Ok(match request {
            Request::CreateLibrary(request) => Reply::CreateLibrary(self.create_library(request)?),
            Request::DeleteLibrary(request) => Reply::DeleteLibrary(self.delete_library(&request)?),
            Request::CreateReceiver(request) => {
                Reply::CreateReceiver(self.create_receiver(request)?)
            }
            Request::DeleteReceiver(request) => {
                Reply::DeleteReceiver(self.delete_receiver(request).await?)
            }
            Request::CreateJournal(request) => {
                Reply::CreateJournal(self.create_journal(request).await?)
            }
            Request::ChangeJournal(request) => {
                Reply::ChangeJournal(self.change_journal(request).await?)
            }
            Request::DeleteJournal(request) => {
                Reply::DeleteJournal(self.delete_journal(&request).await?)
            }
            Request::PutPartner(request) => Reply::PutPartner(self.put_partner(request).await?),
            Request::RemovePartner(request) => {
                Reply::RemovePartner(self.remove_partner(&request).await?)
            }
            Request::AddRemoteJournal(request) => {
                Reply::AddRemoteJournal(self.add_remote_journal(request).await?)
            }
            Request::ChangeRemoteJournal(request) => {
                Reply::ChangeRemoteJournal(self.change_remote_journal(request).await?)
            }
            Request::RemoveRemoteJournal(request) => {
                Reply::RemoveRemoteJournal(self.remove_remote_journal(&request).await?)
            }
            Request::CreateFile(request) => Reply::CreateFile(self.create_file(request)?),
            Request::DeleteFile(request) => Reply::DeleteFile(self.delete_file(&request)?),
            Request::StartJournaling(request) => {
                Reply::StartJournaling(self.start_journaling(request).await?)
            }
            Request::EndJournaling(request) => {
                Reply::EndJournaling(self.end_journaling(&request).await?)
            }
            Request::ChangeGroup(request) => Reply::ChangeGroup(self.change_group(request)?),
            Request::DeleteGroup(request) => {
                Reply::DeleteGroup(Box::pin(self.delete_recovery_group(&request)).await?)
            }
            Request::LoadStore(request) => Reply::LoadStore(self.load_store(&request)?),
            Request::StartApply(request) => Reply::StartApply(self.start_apply(request)?),
            Request::EndApply(request) => Reply::EndApply(self.end_apply(&request).await?),
            _ => {
                return Err(CommandError::new(
                    ErrorKind::Internal,
                    "RJN1003",
                    "a request was not carried out",
                ));
            }
        })
    }
}
