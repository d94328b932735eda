//! Package `cli`, the benchmark: the bare disk: one block after the other written and flushed into a file that was filled
//! with zeros before. What a journal with one depositor could reach at best. Must not know journals.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Meter, Plan, Sample};
use crate::error::CliError;

/// Length of the file.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// One write.
const BLOCK_BYTES: u64 = 4096;

#[derive(Debug)]
pub(super) struct Floor {
    file: File,
}

impl Floor {
    pub(super) fn make(plan: &Plan) -> Result<Self, CliError> {
        let make = || {
            let file = File::create_new(plan.dir.join("floor"))?;
            let zeros = vec![0; 1024 * 1024];
            for offset in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, offset)?;
            }
            file.sync_all().map(|()| file)
        };
        make()
            .map(|file| Self { file })
            .map_err(|error| CliError::internal(&error))
    }

    /// On this thread: nothing else is to be measured.
    pub(super) fn measure(&self, time: Duration) -> Result<Sample, CliError> {
        let mut meter = Meter::new()?;
        let block = vec![0x5a; usize::try_from(BLOCK_BYTES).unwrap_or_default()];
        let began = Instant::now();
        let (mut now, mut offset) = (began, 0);
        while now < began + time {
            self.file
                .write_all_at(&block, offset)
                .and_then(|()| self.file.sync_data())
                .map_err(|error| CliError::internal(&error))?;
            offset = (offset + BLOCK_BYTES) % FILE_BYTES;
            let after = Instant::now();
            meter.note(after - now);
            now = after;
        }
        Ok(meter.sample(began.elapsed()))
    }
}
