//! Package `cli`: the CL form of commands: `NAME KEY(value) KEY(v1 v2) KEY('quoted ''text''')`. In comes text, out go
//! statements with the lines they stand on. Must not know which commands there are.
//!
//! Rules (IBM i "CL command definition"): one command in a line; a line that ends in `+` goes on with the next one's first
//! character that is not a blank; `/*` begins a comment where a word could begin, so `PRDLIB/*ALL` is a value; values
//! without a keyword come before those with one; inside apostrophes an apostrophe is written twice.

use std::fmt;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The line it begins in.
    pub(crate) line: usize,
    /// Its name, as given.
    pub(crate) name: String,
    /// Its parameters, in order.
    pub(crate) parameters: Vec<Parameter>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A value without a keyword.
    Value(String),
    /// A keyword and its values.
    Keyword(String, Vec<String>),
}

/// Why a text is not CL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClError {
    /// The line.
    pub(crate) line: usize,
    /// The character in the line.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) what: &'static str,
}

impl fmt::Display for ClError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, character {}: {}",
            self.line, self.column, self.what
        )
    }
}

/// A character and where it stands.
#[derive(Debug, Clone, Copy)]
struct Spot {
    character: char,
    line: usize,
    column: usize,
}

/// Reads a text as commands.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, ClError> {
    let spots = join_lines(text)?;
    let mut reader = Reader {
        spots: &spots,
        at: 0,
    };
    let mut statements = Vec::new();
    while reader.skip_to_statement()? {
        statements.push(reader.statement()?);
    }
    Ok(statements)
}

/// Whether a text ends in the middle of a command, so that a prompt asks for more.
pub(crate) fn goes_on(text: &str) -> bool {
    text.trim_end().ends_with('+')
}

/// The characters of a text, continued lines joined.
fn join_lines(text: &str) -> Result<Vec<Spot>, ClError> {
    let mut spots: Vec<Spot> = Vec::new();
    let mut continued: Option<Spot> = None;
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let kept = content.trim_end();
        let (kept, goes_on) = kept
            .strip_suffix('+')
            .map_or((kept, false), |kept| (kept, true));
        let blanks = if continued.is_some() {
            kept.chars().take_while(|c| c.is_whitespace()).count()
        } else {
            0
        };
        let characters = kept.chars().enumerate().skip(blanks);
        spots.extend(characters.map(|(column, character)| Spot {
            character,
            line,
            column: column + 1,
        }));
        let end = Spot {
            character: '\n',
            line,
            column: kept.chars().count() + 1,
        };
        continued = goes_on.then_some(end);
        if !goes_on {
            spots.push(end);
        }
    }
    match continued {
        Some(spot) => Err(ClError {
            line: spot.line,
            column: spot.column,
            what: "the command is continued with +, but nothing follows",
        }),
        None => Ok(spots),
    }
}

struct Reader<'a> {
    spots: &'a [Spot],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.spots.get(self.at).map(|spot| spot.character)
    }

    fn peek_second(&self) -> Option<char> {
        self.spots.get(self.at + 1).map(|spot| spot.character)
    }

    fn error_at(&self, at: usize, what: &'static str) -> ClError {
        let spot = self.spots.get(at).or_else(|| self.spots.last());
        let (line, column) = spot.map_or((1, 1), |spot| (spot.line, spot.column));
        ClError { line, column, what }
    }

    fn error(&self, what: &'static str) -> ClError {
        self.error_at(self.at, what)
    }

    /// Passes blanks and comments; line ends too where they mean nothing.
    fn skip_blanks(&mut self, and_lines: bool) -> Result<(), ClError> {
        loop {
            match self.peek() {
                Some('\n') if !and_lines => return Ok(()),
                Some(c) if c.is_whitespace() => self.at += 1,
                Some('/') if self.peek_second() == Some('*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<(), ClError> {
        let begins = self.at;
        self.at += 2;
        while self.peek().is_some() {
            if self.peek() == Some('*') && self.peek_second() == Some('/') {
                self.at += 2;
                return Ok(());
            }
            self.at += 1;
        }
        Err(self.error_at(begins, "the comment is not closed with */"))
    }

    /// Goes to the next command, if there is one.
    fn skip_to_statement(&mut self) -> Result<bool, ClError> {
        self.skip_blanks(true)?;
        Ok(self.peek().is_some())
    }

    fn statement(&mut self) -> Result<Statement, ClError> {
        let line = self.spots.get(self.at).map_or(1, |spot| spot.line);
        let name = self.word();
        let ends = self.peek().is_none_or(char::is_whitespace);
        if name.is_empty() || !ends {
            return Err(self.error("a command begins with its name, as in CRTLIB LIB(PRDLIB)"));
        }
        let mut parameters = Vec::new();
        loop {
            self.skip_blanks(false)?;
            if self.peek().is_none_or(|c| c == '\n') {
                return Ok(Statement {
                    line,
                    name,
                    parameters,
                });
            }
            let begins = self.at;
            let parameter = self.parameter()?;
            let with_keyword = matches!(parameters.last(), Some(Parameter::Keyword(..)));
            if with_keyword && matches!(parameter, Parameter::Value(_)) {
                return Err(self.error_at(
                    begins,
                    "a value without a keyword must come before those with one",
                ));
            }
            parameters.push(parameter);
        }
    }

    /// A name: letters, digits and what else names have.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '#' | '@'))
        {
            word.push(c);
            self.at += 1;
        }
        word
    }

    fn parameter(&mut self) -> Result<Parameter, ClError> {
        let begins = self.at;
        let keyword = self.word();
        if self.peek() != Some('(') {
            self.at = begins;
            let value = self.value()?;
            if self.peek() == Some(')') {
                return Err(self.error("there is a ) too many"));
            }
            return Ok(Parameter::Value(value));
        }
        if keyword.is_empty() {
            return Err(self.error("a keyword must stand right before the ("));
        }
        let values = self.list()?;
        if values.is_empty() {
            return Err(self.error_at(
                begins,
                "the keyword has no value; leave it out, or write '' for an empty one",
            ));
        }
        Ok(Parameter::Keyword(keyword, values))
    }

    /// Values in parentheses.
    fn list(&mut self) -> Result<Vec<String>, ClError> {
        let begins = self.at;
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.skip_blanks(false)?;
            match self.peek() {
                None | Some('\n') => {
                    return Err(self.error_at(
                        begins,
                        "the ( is not closed in this line; a line that goes on ends in +",
                    ));
                }
                Some(')') => {
                    self.at += 1;
                    return if self.peek().is_none_or(char::is_whitespace) {
                        Ok(values)
                    } else {
                        Err(self.error("a blank is needed behind the )"))
                    };
                }
                Some('(') => values.push(self.group()?),
                Some(_) => values.push(self.value()?),
            }
        }
    }

    /// Values that belong together, `(NAME VARCHAR(40))`: one value, as it is written.
    fn group(&mut self) -> Result<String, ClError> {
        let begins = self.at;
        self.at += 1;
        let (mut text, mut depth) = (String::new(), 0_usize);
        loop {
            match self.peek() {
                None | Some('\n') => {
                    return Err(self.error_at(
                        begins,
                        "the ( is not closed in this line; a line that goes on ends in +",
                    ));
                }
                Some(')') if depth == 0 => {
                    self.at += 1;
                    return Ok(text.trim().to_owned());
                }
                Some('\'') => text.push_str(&self.quoted()?),
                Some('"') => self.double_quoted(&mut text)?,
                Some(c) => {
                    depth = if c == '(' {
                        depth + 1
                    } else {
                        depth - usize::from(c == ')')
                    };
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn value(&mut self) -> Result<String, ClError> {
        if self.peek() == Some('\'') {
            let text = self.quoted()?;
            let ends = self.peek().is_none_or(|c| c.is_whitespace() || c == ')');
            return if ends {
                Ok(text)
            } else {
                Err(self.error("a blank or ) is needed behind the closing apostrophe"))
            };
        }
        let begins = self.at;
        let (mut text, mut depth) = (String::new(), 0_usize);
        while let Some(c) = self
            .peek()
            .filter(|c| *c != '\n' && (depth > 0 || !c.is_whitespace()))
        {
            match c {
                '\'' => return Err(self.error("text with an apostrophe goes into apostrophes, and the one inside is written twice")),
                '"' => {
                    self.double_quoted(&mut text)?;
                    continue;
                }
                '(' => depth += 1,
                ')' if depth == 0 => break,
                ')' => depth -= 1,
                _ => {}
            }
            text.push(c);
            self.at += 1;
        }
        if depth > 0 {
            return Err(self.error_at(begins, "a ( in this value is not closed"));
        }
        Ok(text)
    }

    /// Text in apostrophes, without them.
    fn quoted(&mut self) -> Result<String, ClError> {
        let begins = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match (self.peek(), self.peek_second()) {
                (None | Some('\n'), _) => {
                    return Err(self.error_at(
                        begins,
                        "the apostrophe is not closed in this line; a line that goes on ends in +",
                    ));
                }
                (Some('\''), Some('\'')) => {
                    text.push('\'');
                    self.at += 2;
                }
                (Some('\''), _) => {
                    self.at += 1;
                    return Ok(text);
                }
                (Some(c), _) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// A name in double quotes, with them.
    fn double_quoted(&mut self, text: &mut String) -> Result<(), ClError> {
        let begins = self.at;
        text.push('"');
        self.at += 1;
        loop {
            match self.peek() {
                None | Some('\n') => {
                    return Err(
                        self.error_at(begins, "the double quote is not closed in this line")
                    );
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                    if c == '"' {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Statement {
        let mut statements = parse(text).unwrap();
        assert_eq!(statements.len(), 1, "{text}: {statements:?}");
        statements.remove(0)
    }

    fn keyword(name: &str, values: &[&str]) -> Parameter {
        Parameter::Keyword(
            name.to_owned(),
            values.iter().map(|value| (*value).to_owned()).collect(),
        )
    }

    fn value(text: &str) -> Parameter {
        Parameter::Value(text.to_owned())
    }

    fn wrong(text: &str) -> (usize, usize, &'static str) {
        let error = parse(text).unwrap_err();
        (error.line, error.column, error.what)
    }

    #[test]
    fn a_command_has_keywords_with_values() {
        let statement = one("ADDRMTJRN RDB(BKP) SRCJRN(PRDLIB/JRN) TGTJRN( BKPLIB/JRN )");
        assert_eq!((statement.line, statement.name.as_str()), (1, "ADDRMTJRN"));
        let expected = [
            keyword("RDB", &["BKP"]),
            keyword("SRCJRN", &["PRDLIB/JRN"]),
            keyword("TGTJRN", &["BKPLIB/JRN"]),
        ];
        assert_eq!(statement.parameters, expected);
        assert_eq!(one("WRKJRNA").parameters, []);
        assert_eq!(one("  crtlib  lib(x)  ").name, "crtlib");
    }

    #[test]
    fn values_come_singly_in_lists_and_without_keyword() {
        assert_eq!(
            one("A ALWJRN(L/A L/B *ALL/*ALL)").parameters,
            [keyword("ALWJRN", &["L/A", "L/B", "*ALL/*ALL"])]
        );
        assert_eq!(
            one("CRTLIB PRDLIB TEXT(x)").parameters,
            [value("PRDLIB"), keyword("TEXT", &["x"])]
        );
        assert_eq!(one("CRTLIB 'a b' c").parameters, [value("a b"), value("c")]);
        assert_eq!(one("A F(-10m) G(*SYNC) H(a:b,c;d)").parameters.len(), 3);
    }

    #[test]
    fn apostrophes_hold_text_together() {
        assert_eq!(
            one("A TEXT('quoted ''text''')").parameters,
            [keyword("TEXT", &["quoted 'text'"])]
        );
        assert_eq!(one("A TEXT('')").parameters, [keyword("TEXT", &[""])]);
        assert_eq!(one("A TEXT('''')").parameters, [keyword("TEXT", &["'"])]);
        assert_eq!(
            one("A TEXT('(x) /* y */ +z')").parameters,
            [keyword("TEXT", &["(x) /* y */ +z"])]
        );
        assert_eq!(
            one("A T('Größe 漢字 🚀' Ü)").parameters,
            [keyword("T", &["Größe 漢字 🚀", "Ü"])]
        );
    }

    #[test]
    fn parentheses_nest() {
        assert_eq!(
            one("CRTPF FIELD((ID INTEGER) (NAME VARCHAR(40) NOT NULL)) KEY(ID)").parameters,
            [
                keyword("FIELD", &["ID INTEGER", "NAME VARCHAR(40) NOT NULL"]),
                keyword("KEY", &["ID"])
            ]
        );
        assert_eq!(
            one("A F(DECIMAL(10, 2) X)").parameters,
            [keyword("F", &["DECIMAL(10, 2)", "X"])]
        );
        assert_eq!(
            one("A F((\"a ) b\" INT))").parameters,
            [keyword("F", &["\"a ) b\" INT"])]
        );
    }

    #[test]
    fn names_in_double_quotes_keep_them() {
        assert_eq!(
            one("A FILE(L/\"Play list\")").parameters,
            [keyword("FILE", &["L/\"Play list\""])]
        );
        assert_eq!(one("A L/\"x y\"").parameters, [value("L/\"x y\"")]);
    }

    #[test]
    fn comments_stand_where_a_word_could() {
        let text = "/* one\n two */ CRTLIB /* three */ LIB(PRDLIB) /* four */\n/* five */\nCHGRDBDIRE ALWJRN(*ALL/*ALL /* six */)";
        let statements = parse(text).unwrap();
        assert_eq!(
            statements
                .iter()
                .map(|statement| statement.line)
                .collect::<Vec<_>>(),
            [2, 4]
        );
        assert_eq!(
            statements[1].parameters,
            [keyword("ALWJRN", &["*ALL/*ALL"])]
        );
        assert_eq!(parse(" \n /* only */ \n\n"), Ok(Vec::new()));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn a_line_goes_on_after_a_plus() {
        let statements =
            parse("CRTLIB +  \n   LIB(PRDLIB) +\n   TEXT('Pro+\n     duction')\nWRKF\n").unwrap();
        assert_eq!(
            statements[0].parameters,
            [
                keyword("LIB", &["PRDLIB"]),
                keyword("TEXT", &["Production"])
            ]
        );
        assert_eq!((statements[0].line, statements[1].line), (1, 5));
        assert_eq!(
            one("A F(1 +\r\n 2)\r\n").parameters,
            [keyword("F", &["1", "2"])]
        );
        assert!(goes_on("CRTLIB + \n"));
        assert!(!goes_on("CRTLIB LIB(A)"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, line, column, what) in [
            ("A F('x", 1, 5, "apostrophe is not closed"),
            ("\nA F(x", 2, 4, "( is not closed"),
            ("A F((x)", 1, 4, "( is not closed"),
            ("A F((x", 1, 5, "( is not closed"),
            ("A F(x\n)", 1, 4, "( is not closed"),
            ("A F(x))", 1, 7, "blank is needed"),
            ("A x)", 1, 4, ") too many"),
            ("A )", 1, 3, ") too many"),
            ("A F(x(1)", 1, 4, "( is not closed"),
            ("A F(x(1", 1, 5, "in this value is not closed"),
            ("A (x)", 1, 3, "keyword must stand"),
            ("A F (x)", 1, 5, "keyword must stand"),
            ("A F()", 1, 3, "no value"),
            ("A F(  )", 1, 3, "no value"),
            ("A F(x)y", 1, 7, "blank is needed"),
            ("A F('x'y)", 1, 8, "closing apostrophe"),
            ("A F(it's)", 1, 7, "written twice"),
            ("A F(x) y", 1, 8, "before those with one"),
            ("A F(\"x)", 1, 5, "double quote"),
            ("A /* x", 1, 3, "comment is not closed"),
            ("(A)", 1, 1, "begins with its name"),
            ("'A'", 1, 1, "begins with its name"),
            ("A(B)", 1, 2, "begins with its name"),
            ("*A", 1, 1, "begins with its name"),
            ("A +", 1, 3, "nothing follows"),
            ("A +\n+", 2, 1, "nothing follows"),
        ] {
            let found = wrong(text);
            assert_eq!((found.0, found.1), (line, column), "{text:?}: {}", found.2);
            assert!(found.2.contains(what), "{text:?}: {}", found.2);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic_or_go_on_for_ever() {
        let pieces = [
            "A", " ", "(", ")", "'", "\"", "/*", "*/", "+", "\n", "F(", "ß", "\u{0}", "\r", "🚀",
        ];
        let count = pieces.len();
        for number in 0..count.pow(4) {
            let text: String = (0..4)
                .map(|place| pieces[number / count.pow(place) % count])
                .collect();
            drop(parse(&text));
        }
        drop(parse(&"(".repeat(100_000)));
        drop(parse(&format!("A F({}", "(".repeat(100_000))));
        drop(parse(&format!("A F('{}')", "''".repeat(100_000))));
    }
}
