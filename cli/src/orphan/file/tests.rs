//! Package `cli`, orphans, tests: what is written reads back; what is not whole is refused.

use rjournal::entry::record::{Format, Images, Value, encode_row};
use rjournal::entry::{ChainHead, ClientId};

use super::read::unhex;
use super::*;
use crate::error::CliError;
use crate::orphan::class::Class;
use crate::orphan::transaction::{Change, ChangeKind, Outcome, Transaction};

fn format() -> Format {
    let fields = ["ID BIGINT", "NAME VARCHAR(20)"];
    let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
    Format::new(
        1,
        "PRDLIB/F".parse().unwrap(),
        fields,
        vec![0],
        Images::Both,
    )
    .unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "as an image stands in a change")]
fn row(id: i64, name: &str) -> Option<Vec<u8>> {
    let values = [Value::BigInt(id), Value::Text(name.to_owned())];
    Some(encode_row(&format(), &values).unwrap())
}

fn transaction() -> Transaction {
    let change = |sequence, kind, before, after| Change {
        sequence: Sequence::new(sequence),
        kind,
        object: ObjectId::from_bytes([1; 16]),
        format: 1,
        record: 0,
        before,
        after,
        key: None,
    };
    Transaction {
        sequence: Sequence::new(9),
        outcome: Outcome::Committed,
        time: Timestamp::from_micros(7),
        actor: [Some("DB".to_owned()), None, None, None],
        key: Some(DepositKey {
            client: ClientId::from_bytes([3; 16]),
            key: 4,
        }),
        epoch: Epoch {
            term: 1,
            boot: 2,
            nonce: 3,
        },
        changes: vec![
            change(6, ChangeKind::Put, None, row(1, "one")),
            change(7, ChangeKind::Update, row(2, "two"), row(2, "due")),
            change(8, ChangeKind::Delete, row(3, "three"), None),
        ],
        notes: Vec::new(),
        incomplete: false,
    }
}

fn at(sequence: u64) -> Position {
    Position {
        sequence: Sequence::new(sequence),
        head: ChainHead::from_bytes([6; 32]),
    }
}

fn written() -> Vec<u8> {
    let header = Header {
        rjournal_orphans: VERSION,
        journal: JournalId::from_bytes([5; 16]),
        name: "PRDLIB/JRN".parse().unwrap(),
        archive: 1,
        fork: at(4),
        last: at(9),
        archived_at: Timestamp::ZERO,
        reason: "a test".to_owned(),
    };
    let (format, mut out) = (format(), Vec::new());
    let mut writing = Writing::begin(&mut out, &header).unwrap();
    for _ in 0..2 {
        let known = |_: ObjectId, _: u32| Some(&format);
        writing.push(&transaction(), Class::Local, known).unwrap();
    }
    assert_eq!(writing.finish().unwrap(), 2);
    out
}

fn read(bytes: &[u8]) -> Result<Vec<Exported>, CliError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lost.jsonl");
    std::fs::write(&path, bytes).unwrap();
    let mut reading = Reading::open(&path)?;
    let mut found = Vec::new();
    while let Some(transaction) = reading.next_transaction()? {
        assert!(reading.format(&transaction.changes[0]).is_some());
        found.push(transaction);
    }
    Ok(found)
}

#[test]
fn what_was_written_reads_back_image_by_image() {
    let out = written();
    let text = String::from_utf8(out.clone()).unwrap();
    assert!(
        text.starts_with(r#"{"rjournal_orphans":1,"journal":"05050505"#),
        "{text}"
    );
    assert!(text.contains(r#""before":{"ID":2,"NAME":"two"}"#), "{text}");
    assert_eq!(text.lines().count(), 5, "a format is written once");
    let found = read(&out).unwrap();
    assert_eq!(found.len(), 2);
    let (found, due) = (&found[1], transaction());
    assert_eq!(found.changes, due.changes);
    assert_eq!(
        (found.sequence, found.key, found.epoch),
        (due.sequence, due.key, due.epoch)
    );
    assert_eq!(found.outcome, Outcome::Committed);
}

#[test]
fn a_file_that_is_damaged_cut_short_newer_or_none_is_refused_by_name() {
    let out = written();
    let text = String::from_utf8(out.clone()).unwrap();
    let cut = out.len() - 10;
    let without_end = text.lines().take(4).map(|line| format!("{line}\n"));
    let cases = [
        (
            String::from_utf8(out[..cut].to_vec()).unwrap(),
            8,
            "cut short",
        ),
        (without_end.collect(), 8, "its last line is missing"),
        (
            text.replace("\"transactions\":2", "\"transactions\":3"),
            8,
            "3 transactions",
        ),
        (text.replace("UPDATE", "UPSET"), 8, "line 3"),
        (
            text.replacen("orphans\":1", "orphans\":2", 1),
            5,
            "version 2",
        ),
        ("KEY,VALUE\n".to_owned(), 2, "no export of orphans"),
        (String::new(), 2, "no export of orphans"),
    ];
    for (text, code, word) in cases {
        let error = read(text.as_bytes()).expect_err(word);
        assert_eq!(error.exit_code(), code, "{}", error.0.text);
        assert!(error.0.text.contains(word), "{}", error.0.text);
        assert!(error.0.text.contains("lost.jsonl"), "{}", error.0.text);
    }
}

#[test]
fn hexadecimal_digits_come_in_pairs() {
    assert_eq!(unhex("00ff"), Some(vec![0, 255]));
    assert_eq!(unhex(""), Some(Vec::new()));
    assert_eq!(unhex("0"), None);
    assert_eq!(unhex("0x"), None);
}
