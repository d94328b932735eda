//! Golden bytes: what stands on disks and goes over wires, held byte by byte (DESIGN rule 2, ruling 21; docs/FORMAT.md says
//! what each byte means). A change here is a change of a format: it needs a new version, and readers of the old one.
//! `UPDATE=1` rewrites the files in `golden/`. Must not know how the bytes are made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rjournal::disk::{Disk, MemoryDisk, SlotContent, SlotFile, read_whole};
use rjournal::entry::codec::{BUNDLE_HEADER_BYTES, Seal, encode_entry, open, seal};
use rjournal::entry::control_entry::{
    Level, Member, Neighbour, OpenEntry, OpenReason, Policy, SetChange, SetReason,
};
use rjournal::entry::{
    Actor, Alignment, BundleHeader, ChainHead, ClientId, Closed, Cursor, DepositKey, Draft,
    EntryFlags, EntryView, Epoch, Extension, GroupId, HandOver, JournalId, Kind, ObjectId, Payload,
    Position, Proof, RECEIVER_HEADER_BYTES, ReceiverHeader, ReceiverId, Sequence, SystemId,
    TermReason, TermRecord, Timestamp, payload_hash,
};
use rjournal::journal::{
    Attributes, Control, ControlFile, DeliveryMode, JournalKind, LinkRecord, SourceRecord,
};
use rjournal::receiver::ReceiverRecord;

const RECEIVER: ReceiverId = ReceiverId::from_bytes(*b"receiver of case");
const JOURNAL: JournalId = JournalId::from_bytes(*b"journal of cases");
const SYSTEM: SystemId = SystemId::from_bytes(*b"system of cases.");
const OBJECT: ObjectId = ObjectId::from_bytes(*b"object of cases.");
const CLIENT: ClientId = ClientId::from_bytes(*b"client of cases.");
const EPOCH: Epoch = Epoch {
    term: 2,
    boot: 5,
    nonce: 0x0102_0304_0506_0708,
};

fn path_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Holds bytes against a file of hexadecimal digits, 32 bytes in a line, and gives back what stands in the file.
fn hold(name: &str, bytes: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| {
        line.iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let found: Vec<String> = bytes.chunks(32).map(line).collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path_of(name), found.join("\n") + "\n").unwrap();
    }
    let golden = std::fs::read_to_string(path_of(name)).unwrap();
    for (number, (found, golden)) in found.iter().zip(golden.lines()).enumerate() {
        assert_eq!(found, golden, "{name}, from byte {}", number * 32);
    }
    assert_eq!(found.len(), golden.lines().count(), "lines of {name}");
    let digits: Vec<u8> = golden.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn genesis() -> Position {
    Position {
        sequence: Sequence::NONE,
        head: ChainHead::genesis(JOURNAL),
    }
}

fn at(sequence: u64, byte: u8) -> Position {
    Position {
        sequence: Sequence::new(sequence),
        head: ChainHead::from_bytes([byte; 32]),
    }
}

fn receiver_header() -> ReceiverHeader {
    ReceiverHeader {
        receiver: RECEIVER,
        journal: JOURNAL,
        group: GroupId::from_bytes(*b"group of a case."),
        name: "PRDLIB/RCV0000002".parse().unwrap(),
        journal_name: "PRDLIB/JRN".parse().unwrap(),
        origin_name: "PRD".parse().unwrap(),
        origin: SYSTEM,
        previous: ReceiverId::from_bytes(*b"the one before.."),
        before: at(258, 0xbe),
        threshold: 67_108_864,
        alignment: Alignment::Packed,
    }
}

#[test]
fn receiver_header_bytes() {
    let bytes = hold("receiver_header.hex", &receiver_header().encode());
    assert_eq!(bytes.len(), RECEIVER_HEADER_BYTES);
    assert_eq!(ReceiverHeader::decode(&bytes).unwrap(), receiver_header());
    // The first of a journal, with padded bundles.
    let first = ReceiverHeader {
        previous: ReceiverId::NONE,
        before: genesis(),
        group: JOURNAL.into(),
        alignment: Alignment::Padded,
        ..receiver_header()
    };
    let bytes = hold("receiver_header_first.hex", &first.encode());
    assert_eq!(ReceiverHeader::decode(&bytes).unwrap(), first);
}

/// Everything an entry can carry.
fn full(actor: &Actor) -> Draft<'_> {
    Draft {
        object: OBJECT,
        count: 77,
        cycle: Sequence::new(301),
        format: 3,
        flags: EntryFlags {
            must_understand: 0,
            ignorable: 3,
        },
        indicator: 1,
        key: Some(DepositKey {
            client: CLIENT,
            key: 9,
        }),
        actor: Some(actor),
        ..Draft::new(Kind::RECORD_UPDATE, b"a row after its update")
    }
}

fn actor() -> Actor {
    Actor::new("NIGHTRUN", "ann", "billing", "PRD")
}

const TIME: Timestamp = Timestamp::from_micros(1_795_267_436_906_351);
const RAW_TIME: Timestamp = Timestamp::from_micros(1_795_267_436_000_000);

fn plain_bytes(sequence: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let draft = Draft::new(Kind::USER, b"plain");
    encode_entry(&mut out, &draft, Sequence::new(sequence), TIME, None, None);
    out
}

fn full_bytes(sequence: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let actor = actor();
    let sequence = Sequence::new(sequence);
    encode_entry(
        &mut out,
        &full(&actor),
        sequence,
        TIME,
        Some(RAW_TIME),
        None,
    );
    out
}

/// The same entry as a filter would pass it on: the payload's hash in its place.
fn omitted_bytes(sequence: u64) -> Vec<u8> {
    let mut out = full_bytes(sequence);
    let actor = actor();
    let payload = full(&actor).payload;
    out.truncate(out.len() - payload.len());
    out[56..58].copy_from_slice(&EntryFlags::PAYLOAD_OMITTED.to_le_bytes());
    out.extend_from_slice(&payload_hash(payload));
    out
}

fn read(bytes: &[u8]) -> EntryView<'_> {
    let mut cursor = Cursor::new(bytes);
    let view = EntryView::read(&mut cursor).unwrap();
    assert_eq!(cursor.remaining(), 0);
    view
}

fn assert_full(view: &EntryView<'_>) {
    let actor = actor();
    let draft = full(&actor);
    assert_eq!(view.time, TIME);
    assert_eq!(view.kind, draft.kind);
    assert_eq!(view.object, draft.object);
    assert_eq!(view.count, draft.count);
    assert_eq!(view.cycle, draft.cycle);
    assert_eq!(view.format, draft.format);
    assert_eq!(view.flags.ignorable, draft.flags.ignorable);
    assert_eq!(view.indicator, draft.indicator);
    let extension = Extension {
        key: draft.key.map(|key| (key, draft.content_hash())),
        job: Some("NIGHTRUN"),
        user: Some("ann"),
        program: Some("billing"),
        system: Some("PRD"),
        raw_time: Some(RAW_TIME),
    };
    assert_eq!(view.extension().unwrap(), extension);
}

#[test]
fn entry_bytes() {
    let bytes = hold("entry_plain.hex", &plain_bytes(300));
    let view = read(&bytes);
    assert_eq!(
        (view.sequence, view.time, view.kind),
        (Sequence::new(300), TIME, Kind::USER)
    );
    assert_eq!(
        (view.object, view.count, view.cycle, view.format),
        (ObjectId::NONE, 0, Sequence::NONE, 0)
    );
    assert_eq!((view.flags, view.indicator), (EntryFlags::default(), 0));
    assert_eq!(view.payload, Payload::Present(b"plain"));
    assert_eq!(view.extension().unwrap(), Extension::default());

    let bytes = hold("entry_full.hex", &full_bytes(302));
    let view = read(&bytes);
    assert_eq!(view.sequence, Sequence::new(302));
    assert_eq!(view.payload.bytes(), b"a row after its update");
    assert_full(&view);
    let leaf = view.leaf();

    let bytes = hold("entry_omitted.hex", &omitted_bytes(302));
    let view = read(&bytes);
    assert_full(&view);
    assert_eq!(
        view.payload,
        Payload::Omitted {
            length: 22,
            hash: &payload_hash(b"a row after its update"),
        }
    );
    assert_eq!(
        view.leaf(),
        leaf,
        "the chain does not see what was left out"
    );
}

#[test]
fn bundle_bytes() {
    let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
    buffer.extend(plain_bytes(300));
    let start = Draft::new(Kind::CYCLE_START, b"");
    encode_entry(&mut buffer, &start, Sequence::new(301), TIME, None, None);
    buffer.extend(full_bytes(302));
    buffer.extend(omitted_bytes(303));
    let used = buffer.len();
    let before = at(299, 0xab);
    let how = Seal {
        receiver: RECEIVER,
        offset: 4096,
        align: 8,
        epoch: EPOCH,
        before,
        durable_upto: Sequence::new(290),
    };
    let sealed = seal(buffer, 4, &how);
    let bytes = hold("bundle.hex", sealed.bytes());
    let opened = open(Bytes::from(bytes.clone()), RECEIVER).unwrap();
    let header = BundleHeader {
        length: bytes.len() as u32,
        entries: 4,
        must_understand: 0,
        ignorable: 0,
        padding: (bytes.len() - used) as u32,
        offset: 4096,
        first: Sequence::new(300),
        durable_upto: Sequence::new(290),
        epoch: EPOCH,
        head_before: before.head,
    };
    assert_eq!(*opened.header(), header);
    assert!(
        header.padding > 0,
        "padding is part of what is held: {header:?}"
    );
    let views: Vec<EntryView<'_>> = opened.entries().map(Result::unwrap).collect();
    assert_eq!(views.len(), 4);
    assert_eq!(views[1].cycle, Sequence::new(301), "a cycle's own number");
    assert_full(&views[2]);
    assert_full(&views[3]);
    let head = views
        .iter()
        .fold(before.head, |head, view| head.extend(&view.leaf()));
    assert_eq!(
        opened.last(),
        Position {
            sequence: Sequence::new(303),
            head
        }
    );
    hold("chain_head.hex", head.as_bytes());
    hold("chain_genesis.hex", genesis().head.as_bytes());
    // Valid in this receiver and nowhere else.
    let other = ReceiverId::from_bytes(*b"another receiver");
    assert!(open(Bytes::from(bytes), other).is_err());
}

#[test]
fn control_entry_bytes() {
    for (name, reason, epoch_before) in [
        ("j_oe_created.hex", OpenReason::Created, Epoch::NONE),
        ("j_oe_restarted.hex", OpenReason::Restarted, EPOCH),
        ("j_oe_adopted.hex", OpenReason::Adopted, EPOCH),
        ("j_oe_alone.hex", OpenReason::Alone, EPOCH),
    ] {
        let entry = OpenEntry {
            epoch: Epoch { boot: 6, ..EPOCH },
            epoch_before,
            before: at(258, 0xbe),
            reason,
            term: None,
        };
        let bytes = hold(name, &entry.encode());
        assert_eq!(OpenEntry::decode(&bytes).unwrap(), entry);
    }
    let term = TermRecord {
        group: GroupId::from_bytes(*b"a recovery group"),
        term: 2,
        primary: SystemId::from_bytes(*b"a primary system"),
        journal: JournalId::from_bytes(*b"reverse journal."),
        begins: at(0, 0x01),
        epoch: Epoch {
            term: 2,
            boot: 1,
            nonce: 9,
        },
        closed: Some(Closed {
            term: 1,
            journal: JournalId::from_bytes(*b"forward journal."),
            last: at(258, 0xbe),
        }),
        reason: TermReason::TakenOver,
        opened_at: Timestamp::from_micros(1_700_000_000_000_000),
        proof: Proof {
            key: [0x11; 32],
            signature: [0x22; 64],
        },
    };
    let entry = OpenEntry {
        epoch: term.epoch,
        epoch_before: Epoch::NONE,
        before: at(0, 0x01),
        reason: OpenReason::Term,
        term: Some(term),
    };
    let bytes = hold("j_oe_term.hex", &entry.encode());
    assert_eq!(OpenEntry::decode(&bytes).unwrap(), entry);
    let handed = HandOver {
        group: term.group,
        term: 1,
        to: term.primary,
    };
    let bytes = hold("j_ho.hex", &handed.encode());
    assert_eq!(HandOver::decode(&bytes).unwrap(), handed);
    let neighbour = Neighbour::of(
        RECEIVER,
        "PRDLIB/RCV0000002".parse().unwrap(),
        &receiver_header(),
    );
    let bytes = hold("j_nr.hex", &neighbour.encode());
    assert_eq!(Neighbour::decode(&bytes).unwrap(), neighbour);
    let none = Neighbour {
        receiver: ReceiverId::NONE,
        alignment: Alignment::Padded,
        ..neighbour
    };
    let bytes = hold("j_pr_first.hex", &none.encode());
    assert_eq!(Neighbour::decode(&bytes).unwrap(), none);
    let change = set_change();
    let bytes = hold("j_is.hex", &change.encode());
    assert_eq!(SetChange::decode(&bytes).unwrap(), change);
    // The bytes of the other policies and reasons.
    let mut rest = Vec::new();
    for (policy, reason) in [
        (Policy::Degrade, SetReason::Joined),
        (Policy::Reject, SetReason::TargetFailed),
        (Policy::Reject, SetReason::Operator),
        (Policy::Reject, SetReason::OpenedAlone),
    ] {
        let change = SetChange {
            required: 0,
            policy,
            reason,
            members: Vec::new(),
            left: Vec::new(),
        };
        let bytes = change.encode();
        assert_eq!(SetChange::decode(&bytes).unwrap(), change);
        rest.extend(bytes);
    }
    hold("j_is_empty.hex", &rest);
}

fn set_change() -> SetChange {
    let member = |rdb: &str, level, acknowledged| Member {
        system: SYSTEM,
        rdb: rdb.parse().unwrap(),
        journal: "BKPLIB/JRN".parse().unwrap(),
        level,
        acknowledged: Sequence::new(acknowledged),
    };
    SetChange {
        required: 2,
        policy: Policy::Block,
        reason: SetReason::TimedOut,
        members: vec![
            member("BKP", Level::Written, 257),
            member("EIGHTEEN_CHARACTRS", Level::Received, 256),
        ],
        left: vec![member("GONE", Level::Written, 255)],
    }
}

fn file(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    read_whole(disk, Path::new(name), 1 << 20).unwrap().unwrap()
}

fn slots(disk: &MemoryDisk) -> (SlotFile, SlotContent) {
    SlotFile::open(Arc::new(disk.clone()), Path::new(""), "case").unwrap()
}

#[test]
fn slot_file_bytes() {
    let disk = MemoryDisk::new();
    let (mut written, _) = slots(&disk);
    // The third is shorter than the first, over which it is written.
    for content in ["the first and longest content", "the second", "the third"] {
        written.save(content.as_bytes()).unwrap();
    }
    let odd = hold("slot_b.hex", &file(&disk, "case.b"));
    let even = hold("slot_a.hex", &file(&disk, "case.a"));
    let found = |slots: &[(&str, &[u8])]| {
        let disk = MemoryDisk::new();
        for (name, bytes) in slots {
            let file = disk.create(Path::new(name)).unwrap();
            file.write_at(bytes, 0).unwrap();
        }
        match self::slots(&disk).1 {
            SlotContent::Found { bytes, .. } => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found(&[("case.a", &even)]), "the second");
    assert_eq!(found(&[("case.a", &even), ("case.b", &odd)]), "the third");
}

/// A control file is JSON in a slot: its fields are held as text.
fn hold_control(name: &str, control: &Control) {
    let disk = MemoryDisk::new();
    ControlFile::create(Arc::new(disk.clone()), Path::new(""), control.clone()).unwrap();
    let slot = file(&disk, "control.b");
    let text = std::str::from_utf8(&slot[40..]).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path_of(name), format!("{text}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(path_of(name)).unwrap();
    assert_eq!(text, golden.trim_end(), "{name}");
    let read: Control = serde_json::from_str(&golden).unwrap();
    assert_eq!(read, *control, "{name}");
    let (opened, stale) = ControlFile::open(Arc::new(disk), Path::new("")).unwrap();
    assert_eq!((opened.get(), stale), (control, None));
}

fn control(kind: JournalKind) -> Control {
    let record = |file, last: Option<Position>| ReceiverRecord {
        receiver: RECEIVER,
        name: "PRDLIB/RCV0000002".parse().unwrap(),
        file,
        before: at(258, 0xbe),
        last,
        bytes: 5120,
        attached_at: RAW_TIME,
        detached_at: last.map(|_| TIME),
        saved: last.is_some(),
    };
    let mut control = Control {
        journal: JOURNAL,
        name: "PRDLIB/JRN".parse().unwrap(),
        kind,
        created_at: RAW_TIME,
        attributes: Attributes::default(),
        epoch: EPOCH,
        promised: Epoch::NONE,
        receivers: vec![record(1, Some(at(300, 0xcd))), record(2, None)],
        checkpoint: serde_json::from_str("{}").unwrap(),
        links: vec![LinkRecord {
            rdb: "BKP".parse().unwrap(),
            system: SYSTEM,
            target: "BKPLIB/JRN".parse().unwrap(),
            delivery: DeliveryMode::Sync,
            level: Level::Written,
            active: true,
            acknowledged: Sequence::new(257),
            needs_reinit: false,
            text: "the other house".to_owned(),
        }],
        cut: None,
        group: None,
        orphans: 1,
        stopped: Some("an operator must decide".to_owned()),
        set_unknown: false,
        next_name: Some("PRDLIB/RCV0000003".parse().unwrap()),
        policy_ordered: None,
        untold: Vec::new(),
        began_behind: None,
    };
    control.checkpoint.set = Some((Sequence::new(259), set_change()));
    control.checkpoint.last_keyed = Sequence::new(302);
    control.checkpoint.opened = Sequence::new(2);
    control
}

#[test]
fn control_file_fields() {
    let mut local = control(JournalKind::Local);
    local.policy_ordered = Some(Policy::Degrade);
    local.untold = set_change().left;
    hold_control("control_local.json", &local);
    let kind = JournalKind::Remote(SourceRecord {
        system: SYSTEM,
        name: "PRD".parse().unwrap(),
        journal: "PRDLIB/JRN".parse().unwrap(),
        path: vec![SYSTEM],
    });
    let mut copy = control(kind);
    copy.epoch = Epoch::NONE;
    copy.promised = EPOCH;
    copy.began_behind = Some(Sequence::new(200));
    copy.cut = serde_json::from_value(serde_json::json!({ "at": at(300, 0xcd) })).unwrap();
    hold_control("control_remote.json", &copy);
}

/// What was written before a field was there is read with the field's default.
#[test]
fn a_control_file_without_the_later_fields_is_read() {
    let mut value = serde_json::to_value(control(JournalKind::Local)).unwrap();
    let fields = value.as_object_mut().unwrap();
    for later in [
        "checkpoint",
        "links",
        "cut",
        "orphans",
        "stopped",
        "next_name",
    ] {
        fields.remove(later).unwrap();
    }
    fields["attributes"] = serde_json::json!({});
    let read: Control = serde_json::from_value(value).unwrap();
    assert_eq!(read.attributes, Attributes::default());
    assert!(read.links.is_empty() && read.cut.is_none() && read.stopped.is_none());
}
