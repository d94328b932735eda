//! Room `receiver`: one receiver's file, read through a window. Reads only; what a damaged file means is decided in
//! `recovery`. Must not know the chain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::entry::codec::{self, BUNDLE_HEADER_BYTES};
use crate::entry::{BundleHeader, CodecError, RECEIVER_HEADER_BYTES, ReceiverHeader, ReceiverId};
use crate::error::ReceiverError;

/// How much is read at once.
const WINDOW_BYTES: usize = 1024 * 1024;
const NAME_END: &str = ".rcv";

/// Name of the file with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("r{number:08}{NAME_END}")
}

/// The number in a file's name, if it is one of ours.
pub(super) fn file_number(name: &str) -> Option<u64> {
    name.strip_prefix('r')?.strip_suffix(NAME_END)?.parse().ok()
}

/// Reads the receiver header of a file.
pub(super) fn read_header(
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Result<ReceiverHeader, CodecError>, ReceiverError> {
    let page = file
        .read(RECEIVER_HEADER_BYTES, 0)
        .map_err(|source| ReceiverError::io("could not be read", path, source))?;
    Ok(ReceiverHeader::decode(&page))
}

/// What stands at one place of a receiver.
#[derive(Debug)]
pub(super) enum Found {
    /// A bundle whose header and checksum hold.
    Bundle(BundleHeader, Bytes),
    /// Something else, or nothing.
    Nothing(CodecError),
}

/// A window sliding over a file: bundles come out as slices of large reads, without a copy.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    receiver: ReceiverId,
    at: u64,
    bytes: Bytes,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: PathBuf, receiver: ReceiverId) -> Self {
        Self {
            file,
            path,
            receiver,
            at: 0,
            bytes: Bytes::new(),
        }
    }

    /// Up to `count` bytes at `offset`; fewer at the end of the file.
    pub(super) fn slice(&mut self, offset: u64, count: usize) -> Result<Bytes, ReceiverError> {
        let inside = offset
            .checked_sub(self.at)
            .map(|skip| skip as usize)
            .filter(|skip| skip + count <= self.bytes.len());
        if let Some(skip) = inside {
            return Ok(self.bytes.slice(skip..skip + count));
        }
        let fresh = self.file.read(count.max(WINDOW_BYTES), offset);
        let fresh =
            fresh.map_err(|source| ReceiverError::io("could not be read", &self.path, source))?;
        self.at = offset;
        self.bytes = Bytes::from(fresh);
        Ok(self.bytes.slice(..count.min(self.bytes.len())))
    }

    /// The header of the bundle at an offset, unchecked against its body.
    pub(super) fn header_at(
        &mut self,
        offset: u64,
    ) -> Result<Result<BundleHeader, CodecError>, ReceiverError> {
        let head = self.slice(offset, BUNDLE_HEADER_BYTES)?;
        Ok(BundleHeader::read(&head, self.receiver).and_then(|header| {
            if header.offset == offset {
                Ok(header)
            } else {
                Err(CodecError::Reserved {
                    what: "bundle offset",
                })
            }
        }))
    }

    /// The bundle at an offset, header and checksum checked.
    pub(super) fn bundle_at(&mut self, offset: u64) -> Result<Found, ReceiverError> {
        let header = match self.header_at(offset)? {
            Ok(header) => header,
            Err(error) => return Ok(Found::Nothing(error)),
        };
        let bytes = self.slice(offset, header.length as usize)?;
        match codec::check(&bytes, self.receiver) {
            Ok(header) => Ok(Found::Bundle(header, bytes)),
            Err(error) => Ok(Found::Nothing(error)),
        }
    }
}
