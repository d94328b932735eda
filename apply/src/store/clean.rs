//! Room `store`: the marker a store leaves when it is closed in order: generation, position, rows per file. Compared on
//! opening, and taken away at once, so that it never speaks for a store that was written afterwards. Must not know rows.

use rjournal::entry::{Cursor, ObjectId};

use super::catalog::{self, State};
use super::ordered::Ordered;
use super::position::in_words;
use super::{StoreError, StorePosition};

const MAGIC: [u8; 8] = *b"RJSTCLN\n";
const VERSION: u16 = 1;

/// What a store says about itself when it is closed. Bytes: magic 8, version 2, generation 8, then 0, or 1 and the
/// position, number of files 4, per file its id 16 and its rows 8, CRC32 of all that 4. Magic, version and CRC32 stand in
/// these places in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CleanMarker {
    generation: u64,
    position: Option<StorePosition>,
    files: Vec<(ObjectId, u64)>,
}

impl CleanMarker {
    /// What a map says.
    ///
    /// # Errors
    /// Whatever the map says.
    pub(super) fn of<M: Ordered>(map: &M) -> Result<Self, StoreError> {
        let State {
            generation,
            position,
            ..
        } = catalog::state(map)?;
        let spaces = catalog::spaces(map)?;
        let files = spaces.into_iter().map(|(file, space)| (file, space.rows));
        Ok(Self {
            generation,
            position,
            files: files.collect(),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.push(u8::from(self.position.is_some()));
        if let Some(position) = &self.position {
            position.put(&mut out);
        }
        out.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        for (file, rows) in &self.files {
            out.extend_from_slice(file.as_bytes());
            out.extend_from_slice(&rows.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The version of these bytes, when it is a newer one than this program knows.
    pub(super) fn newer_version(bytes: &[u8]) -> Option<u16> {
        let mut cursor = Cursor::new(undamaged(bytes)?);
        let ours = cursor.array()? == MAGIC;
        cursor.u16().filter(|version| ours && *version > VERSION)
    }

    /// Reads what [`Self::encode`] gave; nothing when the bytes are not that, whole and undamaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(undamaged(bytes)?);
        if cursor.array()? != MAGIC || cursor.u16()? != VERSION {
            return None;
        }
        let generation = cursor.u64()?;
        let position = match cursor.u8()? {
            0 => None,
            1 => Some(StorePosition::take(&mut cursor)?),
            _ => return None,
        };
        let count = cursor.u32()?;
        let mut files = Vec::new();
        for _ in 0..count {
            files.push((ObjectId::from_bytes(cursor.array()?), cursor.u64()?));
        }
        (cursor.remaining() == 0).then_some(Self {
            generation,
            position,
            files,
        })
    }

    /// What differs between this marker and what was `found`.
    pub(super) fn difference(&self, found: &Self) -> String {
        if (self.generation, &self.position) != (found.generation, &found.position) {
            return format!(
                "it was closed at {} (step {}), but stands at {} (step {})",
                in_words(self.position.as_ref()),
                self.generation,
                in_words(found.position.as_ref()),
                found.generation
            );
        }
        let rows = |files: &[(ObjectId, u64)]| files.iter().map(|(_, rows)| rows).sum::<u64>();
        format!(
            "it was closed with {} files and {} rows, but has {} files and {} rows, or other ones",
            self.files.len(),
            rows(&self.files),
            found.files.len(),
            rows(&found.files)
        )
    }
}

/// What the checksum at the end covers, if it does.
fn undamaged(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_no_damaged_one_does() {
        let marker = CleanMarker {
            generation: 7,
            position: None,
            files: vec![(ObjectId::from_bytes([3; 16]), 9)],
        };
        let bytes = marker.encode();
        assert_eq!(CleanMarker::decode(&bytes), Some(marker));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(CleanMarker::decode(&damaged), None, "byte {at}");
            assert_eq!(CleanMarker::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
