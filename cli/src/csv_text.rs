//! Package `cli`: CSV with a header line, where nothing at all (`,,`) is null and two quotes (`,"",`) are the empty text.
//! Must not know files or fields.

use std::io::{self, Read, Write};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

/// How much is read at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest record, in bytes: more than any row may have.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records one after the other.
#[derive(Debug)]
pub(crate) struct CsvReader<R> {
    input: R,
    parser: Reader,
    delimiter: u8,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    consumed: u64,
    line: u64,
    field: Vec<u8>,
}

/// Where a field in quotes stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// It has none, or is over.
    None,
    /// Within them.
    Open,
    /// Behind one that closes them, unless another follows.
    Closed,
    /// Behind them, where only a delimiter or an end of line may stand.
    Beyond,
}

impl Quotes {
    fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Open, b'"') => Self::Closed,
            (Self::Closed, b'"') => Self::Open,
            (Self::Closed, b'\r' | b'\n') => Self::None,
            (Self::Closed, byte) if byte == delimiter => Self::None,
            (Self::Closed, _) => Self::Beyond,
            (before, _) => before,
        }
    }
}

/// A field: its text, or nothing.
pub(crate) type Cell = Option<String>;

impl<R: Read> CsvReader<R> {
    /// Reads records whose fields stand apart by `delimiter`. A byte order mark is passed over.
    ///
    /// # Errors
    /// Whatever the input says.
    pub(crate) fn new(input: R, delimiter: u8) -> io::Result<Self> {
        let mut reader = Self {
            input,
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            delimiter,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            ended: false,
            consumed: 0,
            line: 1,
            field: vec![0; 1024],
        };
        while reader.end < 3 && !reader.ended {
            reader.fill()?;
        }
        if reader.buffer.get(..reader.end.min(3)) == Some(b"\xef\xbb\xbf") {
            reader.skip(3);
        }
        Ok(reader)
    }

    /// Bytes taken so far.
    pub(crate) const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The line the last record began in, counted from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next record. A line with nothing in it is none, except where records have one field (`columns` is 1): there it
    /// is a null.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] with the line: text that is not UTF-8, quotes that are not closed, or closed in the
    /// middle of a field; whatever the input says.
    pub(crate) fn next(&mut self, columns: usize) -> io::Result<Option<Vec<Cell>>> {
        loop {
            match self.peek()? {
                None => return Ok(None),
                Some(b'\r') => self.skip(1),
                Some(b'\n') => {
                    // The parser takes the end of a record with its last field, so this line is empty.
                    self.skip(1);
                    self.parser.set_line(self.parser.line() + 1);
                    if columns == 1 {
                        self.line = self.parser.line() - 1;
                        return Ok(Some(vec![None]));
                    }
                }
                Some(_) => break,
            }
        }
        self.line = self.parser.line();
        let (mut cells, mut bytes) = (Vec::with_capacity(columns), 0);
        loop {
            let quoted = self.peek()? == Some(b'"');
            let line = self.parser.line();
            let (length, last, quotes) = self.field(quoted)?;
            let number = cells.len() + 1;
            match quotes {
                Quotes::Open => {
                    return Err(bad(format!(
                        "line {line}: the quote that opens field {number} is not closed; the file was cut short, or a quote \
                         is missing"
                    )));
                }
                Quotes::Beyond => {
                    return Err(bad(format!(
                        "line {line}: field {number} goes on behind the quote that closes it; a quote inside is written twice"
                    )));
                }
                Quotes::None | Quotes::Closed => {}
            }
            bytes += length;
            if bytes > RECORD_BYTES_MAX {
                return Err(bad(format!(
                    "line {}: a record of more than {RECORD_BYTES_MAX} bytes; is a quote missing?",
                    self.line
                )));
            }
            let text = self.field.get(..length).unwrap_or_default();
            let text = std::str::from_utf8(text).map_err(|_| {
                bad(format!(
                    "line {}: field {} is not UTF-8",
                    self.line,
                    cells.len() + 1
                ))
            })?;
            cells.push((quoted || !text.is_empty()).then(|| text.to_owned()));
            if last {
                self.end_of_line()?;
                return Ok(Some(cells));
            }
        }
    }

    /// Takes one field: how long it is, whether it is the record's last, and where its quotes ended. The parser itself takes
    /// whatever stands in and behind them.
    fn field(&mut self, quoted: bool) -> io::Result<(usize, bool, Quotes)> {
        let mut written = 0;
        let (mut quotes, mut opening) = (Quotes::None, quoted);
        loop {
            if self.start == self.end && !self.ended {
                self.fill()?;
            }
            let input = self.buffer.get(self.start..self.end).unwrap_or_default();
            let room = self.field.get_mut(written..).unwrap_or_default();
            let (result, read, wrote) = self.parser.read_field(input, room);
            for &byte in input.get(..read).unwrap_or_default() {
                quotes = if std::mem::take(&mut opening) {
                    Quotes::Open
                } else {
                    quotes.after(byte, self.delimiter)
                };
            }
            self.skip(read);
            written += wrote;
            match result {
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::OutputFull => {
                    if self.field.len() > RECORD_BYTES_MAX {
                        return Err(bad(format!(
                            "line {}: a field of more than {RECORD_BYTES_MAX} bytes; is a quote missing?",
                            self.line
                        )));
                    }
                    self.field.resize(self.field.len() * 2, 0);
                }
                ReadFieldResult::Field { record_end } => return Ok((written, record_end, quotes)),
                ReadFieldResult::End => return Ok((written, true, quotes)),
            }
        }
    }

    /// The line feed that may follow the carriage return a record ended with.
    fn end_of_line(&mut self) -> io::Result<()> {
        let before = self.start.checked_sub(1).and_then(|at| self.buffer.get(at));
        if before == Some(&b'\r') && self.peek()? == Some(b'\n') {
            // Through the parser, which counts it.
            let input = self.buffer.get(self.start..=self.start).unwrap_or_default();
            let (_, read, _) = self.parser.read_field(input, &mut self.field);
            self.skip(read);
        }
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.start == self.end && !self.ended {
            self.fill()?;
        }
        Ok(self
            .buffer
            .get(self.start..self.end)
            .and_then(|bytes| bytes.first().copied()))
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.consumed += bytes as u64;
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            // One byte stays, so that what ended a record can be looked at.
            let last = self
                .end
                .checked_sub(1)
                .and_then(|at| self.buffer.get(at))
                .copied();
            (self.start, self.end) = (0, 0);
            if let (Some(last), Some(first)) = (last, self.buffer.first_mut()) {
                *first = last;
                (self.start, self.end) = (1, 1);
            }
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match self.input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.ended = read == 0;
        self.end += read;
        Ok(())
    }
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Writes one record.
///
/// # Errors
/// Whatever the output says.
pub(crate) fn write_record<'a>(
    out: &mut impl Write,
    delimiter: u8,
    cells: impl IntoIterator<Item = Option<&'a str>>,
) -> io::Result<()> {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.write_all(&[delimiter])?;
        }
        let Some(text) = cell else { continue };
        let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
        if text.is_empty() || text.starts_with('\u{feff}') || text.bytes().any(special) {
            out.write_all(b"\"")?;
            out.write_all(text.replace('"', "\"\"").as_bytes())?;
            out.write_all(b"\"")?;
        } else {
            out.write_all(text.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An input that gives so many bytes at a time.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(out.len()).min(self.0.len());
            let (now, later) = self.0.split_at(count);
            out[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn read(text: &[u8], columns: usize) -> Vec<Vec<Cell>> {
        let all = |drip| {
            let mut reader = CsvReader::new(Dripping(text, drip), b',').unwrap();
            let mut records = Vec::new();
            while let Some(record) = reader.next(columns).unwrap() {
                records.push(record);
            }
            assert_eq!(reader.consumed(), text.len() as u64);
            records
        };
        let whole = all(usize::MAX);
        for drip in 1..5 {
            assert_eq!(all(drip), whole, "{drip} bytes at a time");
        }
        whole
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside None")]
    fn some(text: &str) -> Cell {
        Some(text.to_owned())
    }

    #[test]
    fn nothing_is_null_and_two_quotes_are_the_empty_text() {
        assert_eq!(
            read(b"a,,\"\",\"b,\"\"c\"\"\"\n,\"\",,\n", 4),
            [
                vec![some("a"), None, some(""), some("b,\"c\"")],
                vec![None, some(""), None, None]
            ]
        );
    }

    #[test]
    fn line_ends_of_all_kinds_and_a_missing_last_one() {
        let rows = [vec![some("a"), some("b")], vec![some("c"), None]];
        for text in [
            "a,b\nc,",
            "a,b\r\nc,\r\n",
            "\u{feff}a,b\r\n\r\nc,\r\n",
            "\na,b\n\n\nc,\n\n",
        ] {
            assert_eq!(read(text.as_bytes(), 2), rows, "{text:?}");
        }
        assert_eq!(read(b"\"a\r\nb\"\r\n", 1), [[some("a\r\nb")]]);
    }

    #[test]
    fn an_empty_line_is_a_null_where_there_is_one_column() {
        assert_eq!(
            read(b"a\n\n\"\"\nb", 1),
            [[some("a")], [None], [some("")], [some("b")]]
        );
        assert_eq!(
            read(b"a\r\n\r\nb\r\n", 1),
            [[some("a")], [None], [some("b")]]
        );
    }

    #[test]
    fn lines_are_counted_and_what_is_no_text_is_named() {
        let mut reader = CsvReader::new(&b"a\n\"x\ny\"\r\nb\n\xff,1\n"[..], b',').unwrap();
        let mut lines = Vec::new();
        let error = loop {
            match reader.next(2) {
                Ok(Some(_)) => lines.push(reader.line()),
                Ok(None) => panic!("the last record was taken"),
                Err(error) => break error,
            }
        };
        assert_eq!(lines, [1, 2, 4]);
        assert_eq!(error.to_string(), "line 5: field 1 is not UTF-8");
    }

    #[test]
    fn a_quote_that_is_not_closed_or_closed_too_soon_is_named_with_its_line() {
        let told = |text: &str| {
            let all = |drip| {
                let mut reader = CsvReader::new(Dripping(text.as_bytes(), drip), b',').unwrap();
                loop {
                    match reader.next(2) {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("{text:?} was taken"),
                        Err(error) => break error.to_string(),
                    }
                }
            };
            let whole = all(usize::MAX);
            assert_eq!(all(1), whole, "{text:?}");
            whole
        };
        for (text, begins) in [
            (
                "1,a\n2,\"abc\n3,d\n",
                "line 2: the quote that opens field 2 is not closed",
            ),
            ("\"x\ny\",\"", "line 2: the quote that opens field 2"),
            ("1,\"abc\"\"", "line 1: the quote that opens field 2"),
            ("1,a\n2,\"abc\"x\n", "line 2: field 2 goes on behind"),
            ("\"a\" ,b\n", "line 1: field 1 goes on behind"),
            ("\"a\"b\"c\",b\n", "line 1: field 1 goes on behind"),
        ] {
            let told = told(text);
            assert!(told.starts_with(begins), "{text:?}: {told}");
        }
        assert_eq!(
            read(b"a\"b,\"c\"\n\"\"\"\",\"\"", 2),
            [vec![some("a\"b"), some("c")], vec![some("\""), some("")]]
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let rows: Vec<Vec<Cell>> = vec![
            vec![some("a,b"), None, some("")],
            vec![some("say \"x\""), some("l1\nl2\r\n"), some("\u{feff}ü")],
            vec![None, None, None],
            vec![some(" x "), some("\""), some(",")],
        ];
        let mut out = Vec::new();
        for row in &rows {
            write_record(&mut out, b',', row.iter().map(Option::as_deref)).unwrap();
        }
        assert_eq!(read(&out, 3), rows);
        let mut out = Vec::new();
        for row in [None, Some(""), Some("x")] {
            write_record(&mut out, b',', [row]).unwrap();
        }
        assert_eq!(read(&out, 1), [[None], [some("")], [some("x")]]);
    }
}
