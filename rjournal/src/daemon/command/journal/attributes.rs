//! Room `daemon`: the attributes of a journal, as a command gives them: only what is named changes. Must not know journals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::daemon::command::CommandError;
use crate::daemon::command::receiver::threshold_bytes;
use crate::entry::Alignment;
use crate::entry::control_entry::Policy;
use crate::journal::{Attributes, ManageReceivers};

/// Attributes to set; what is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributePatch {
    /// Size in KB at which receivers are changed.
    pub threshold_kb: Option<u64>,
    /// Who changes receivers.
    pub manage_receivers: Option<ManageReceivers>,
    /// Whether detached receivers nobody needs are deleted.
    pub delete_receivers: Option<bool>,
    /// How bundles are laid into the next receivers.
    pub alignment: Option<Alignment>,
    /// Ship only what is flushed here.
    pub local_first: Option<bool>,
    /// Whether entries carry job, user, program and system.
    pub actor: Option<bool>,
    /// What happens when a *SYNC target does not answer.
    pub policy: Option<Policy>,
    /// How long a *SYNC target may take, in milliseconds.
    pub sync_timeout_ms: Option<u64>,
    /// How many entries may wait for a target under policy BLOCK.
    pub waiting_entries_max: Option<u64>,
    /// Over how many entries deposit keys are remembered.
    pub key_window: Option<u64>,
    /// MiB of receivers above which consumers are given up; 0 for no limit.
    pub retention_mib: Option<u64>,
    /// How long members of the in-sync set are waited for at opening before it is said, in milliseconds.
    pub open_wait_ms: Option<u64>,
    /// Free text.
    pub text: Option<String>,
}

impl AttributePatch {
    /// Sets what is given, checking every value (failures.md CFG-3).
    pub(super) fn apply(&self, attributes: &mut Attributes) -> Result<(), CommandError> {
        let within = |keyword: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(value)
            } else {
                Err(CommandError::invalid(format!(
                    "{keyword} {value}: {min} to {max} are allowed"
                )))
            }
        };
        let within_seconds = |keyword: &str, millis: u64, min: u64, max: u64| {
            let seconds = |millis| Duration::from_millis(millis).as_secs_f64();
            if (min..=max).contains(&millis) {
                Ok(millis)
            } else {
                let (given, min, max) = (seconds(millis), seconds(min), seconds(max));
                Err(CommandError::invalid(format!(
                    "{keyword} {given}: {min} to {max} seconds are allowed"
                )))
            }
        };
        if self.threshold_kb.is_some() {
            attributes.threshold = threshold_bytes(self.threshold_kb)?;
        }
        if let Some(millis) = self.sync_timeout_ms {
            attributes.sync_timeout_ms = within_seconds("SYNCTIMO", millis, 100, 3_600_000)?;
        }
        if let Some(entries) = self.waiting_entries_max {
            attributes.waiting_entries_max = within("WAITENT", entries, 1, 10_000_000)?;
        }
        if let Some(window) = self.key_window {
            attributes.key_window = within("KEYWIN", window, 1_000, 100_000_000)?;
        }
        if let Some(mib) = self.retention_mib {
            attributes.retention_bytes_max = within("RTNMIB", mib, 0, 1 << 30)? << 20;
        }
        if let Some(millis) = self.open_wait_ms {
            attributes.open_wait_ms = within_seconds("OPENWAIT", millis, 0, 86_400_000)?;
        }
        if let Some(text) = &self.text {
            if text.chars().count() > 200 {
                return Err(CommandError::invalid(
                    "TEXT: at most 200 characters are kept",
                ));
            }
            attributes.text.clone_from(text);
        }
        set(&mut attributes.manage_receivers, self.manage_receivers);
        set(&mut attributes.delete_receivers, self.delete_receivers);
        set(&mut attributes.alignment, self.alignment);
        set(&mut attributes.local_first, self.local_first);
        set(&mut attributes.actor, self.actor);
        set(&mut attributes.policy, self.policy);
        Ok(())
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
