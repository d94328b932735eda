//! Room `entry`: a format as people read it and control messages carry it: field by field in SQL. What is read is
//! checked like any other format. Must not know bytes.

use serde::{Deserialize, Serialize};

use super::super::FileName;
use super::field::Field;
use super::field_name::FieldName;
use super::format::Format;
use super::format_error::FormatError;
use super::images::Images;

/// The form of a format that people read, and control messages carry.
#[derive(Serialize, Deserialize)]
pub(super) struct FormatText {
    file: FileName,
    version: u32,
    fields: Vec<Field>,
    key: Vec<FieldName>,
    images: Images,
}

impl From<Format> for FormatText {
    fn from(format: Format) -> Self {
        let key = format.key_fields().map(|field| field.name.clone());
        Self {
            file: format.file().clone(),
            version: format.version(),
            fields: format.fields().to_vec(),
            key: key.collect(),
            images: format.images(),
        }
    }
}

impl TryFrom<FormatText> for Format {
    type Error = FormatError;

    fn try_from(text: FormatText) -> Result<Self, FormatError> {
        let FormatText {
            file,
            version,
            fields,
            key,
            images,
        } = text;
        Self::with_key_names(version, file, fields, &key, images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn album() -> Format {
        let fields = [
            "AlbumId INTEGER",
            "\"Album Title\" VARCHAR(160)",
            "ArtistId INTEGER",
        ];
        let fields = fields.map(|field| field.parse().unwrap()).to_vec();
        let key = ["artistid", "ALBUMID"].map(|name| name.parse().unwrap());
        let file = "prdlib/Album".parse().unwrap();
        Format::with_key_names(1, file, fields, &key, Images::Both).unwrap()
    }

    #[test]
    fn a_format_reads_back_from_json() {
        let format = album();
        let json = serde_json::to_string(&format).unwrap();
        assert_eq!(
            json,
            "{\"file\":\"PRDLIB/ALBUM\",\"version\":1,\"fields\":[\"AlbumId INTEGER NOT NULL\",\
             \"\\\"Album Title\\\" VARCHAR(160)\",\"ArtistId INTEGER NOT NULL\"],\"key\":[\"ArtistId\",\"AlbumId\"],\
             \"images\":\"BOTH\"}"
        );
        assert_eq!(serde_json::from_str::<Format>(&json).unwrap(), format);
        let packed = rmp_serde::to_vec_named(&format).unwrap();
        assert_eq!(rmp_serde::from_slice::<Format>(&packed).unwrap(), format);
    }

    #[test]
    fn json_is_checked_like_any_other_way_in() {
        let json =
            r#"{"file":"A/B","version":1,"fields":["A JSON"],"key":["KEY"],"images":"AFTER"}"#;
        for (key, reason) in [("Z", "asks for field Z"), ("A", "is JSON")] {
            let error = serde_json::from_str::<Format>(&json.replace("KEY", key))
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
