//! Room `daemon`, health: as much of HTTP/1.1 as a proxy's check needs: one GET or HEAD without a body on a connection, one
//! answer, the end. Must not know what is asked about.

use serde_json::Value;

/// The longest head of a request.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most lines in it.
const HEADERS_MAX: usize = 64;

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Yes.
    Ok,
    /// It is no request.
    BadRequest,
    /// Nothing is known under this path.
    NotFound,
    /// Something other than GET and HEAD.
    MethodNotAllowed,
    /// The head is too long.
    HeadTooLarge,
    /// No.
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What was read so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The head goes on.
    More,
    /// This is asked.
    Request {
        /// The parts of the path, decoded.
        path: Vec<String>,
        /// The answer's body is not wanted.
        head_only: bool,
    },
    /// It cannot be answered.
    Wrong(Status),
}

/// Reads the head of a request.
pub(super) fn read_head(bytes: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Asked::More,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Asked::Wrong(Status::HeadTooLarge);
        }
        Err(_) => return Asked::Wrong(Status::BadRequest),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Asked::Wrong(Status::MethodNotAllowed),
    };
    let path = request.path.unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts = path.split('/').filter(|part| !part.is_empty()).map(decoded);
    match parts.collect() {
        Some(path) => Asked::Request { path, head_only },
        None => Asked::Wrong(Status::BadRequest),
    }
}

/// Part of a path, with what `%` and two digits stand for: names may hold `#`.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// An answer as it is sent.
pub(super) fn answer(status: Status, body: &Value, head_only: bool) -> Vec<u8> {
    let body = format!("{body}\n");
    let allow = if status == Status::MethodNotAllowed {
        "allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: no-store\r\n{allow}connection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    let shown = if head_only { "" } else { &body };
    [head.as_bytes(), shown.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &[&str], head_only: bool) -> Asked {
        let path = path.iter().map(|&part| part.to_owned()).collect();
        Asked::Request { path, head_only }
    }

    #[test]
    fn a_head_is_read_once_it_is_whole_and_only_as_long_as_it_may_be() {
        let whole = b"GET /groups/ORDERS/primary?x=1 HTTP/1.1\r\nhost: a\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read_head(&whole[..cut]), Asked::More);
        }
        let asked = request(&["groups", "ORDERS", "primary"], false);
        assert_eq!(read_head(whole), asked);
        // What a check of an older proxy says.
        let older = b"HEAD //primary/ HTTP/1.0\r\n\r\n";
        assert_eq!(read_head(older), request(&["primary"], true));
        let long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; HEAD_BYTES_MAX]].concat();
        let too_long = Asked::Wrong(Status::HeadTooLarge);
        assert_eq!(read_head(&long[..HEAD_BYTES_MAX]), too_long);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(read_head(many.as_bytes()), too_long);
    }

    #[test]
    fn what_is_no_question_is_told_so() {
        for (bytes, status) in [
            ("POST /primary HTTP/1.1\r\n\r\n", Status::MethodNotAllowed),
            ("GET /%4 HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET /%ff HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET /%zz HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("\x16\x03\x01\x02", Status::BadRequest),
            ("GET /a b c\r\n\r\n", Status::BadRequest),
        ] {
            assert_eq!(read_head(bytes.as_bytes()), Asked::Wrong(status), "{bytes}");
        }
        let named = read_head(b"GET /groups/A%23B HTTP/1.1\r\n\r\n");
        assert_eq!(named, request(&["groups", "A#B"], false));
    }

    #[test]
    fn an_answer_says_how_long_it_is_also_where_its_body_is_left_out() {
        let body = serde_json::json!({ "a": 1 });
        let text = |head_only| {
            String::from_utf8(answer(Status::MethodNotAllowed, &body, head_only)).unwrap()
        };
        let (whole, head) = (text(false), text(true));
        assert!(whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(whole.contains("\r\nallow: GET, HEAD\r\n") && whole.contains("length: 8\r\n"));
        assert_eq!(whole, format!("{head}{{\"a\":1}}\n"));
    }
}
