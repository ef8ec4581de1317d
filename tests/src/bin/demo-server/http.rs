//! As much of HTTP/1.1 as the application speaks: requests one after the other
//! on a connection, bodies with a length.

use std::io::{BufRead, Read as _, Write};

use anyhow::{Context as _, Result, bail};

/// Longest head of a request, and longest body.
const HEAD_MAX: usize = 16 * 1024;
const BODY_MAX: usize = 1024 * 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// `GET`.
    pub(crate) method: String,
    /// `/notes/7`.
    pub(crate) path: String,
    /// The body, as text.
    pub(crate) body: String,
    /// Whether the client wants the connection closed.
    pub(crate) last: bool,
}

/// Reads a request; `None` where the client has closed instead.
pub(crate) fn read(stream: &mut impl BufRead) -> Result<Option<Request>> {
    let mut head = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        let limit = u64::try_from(HEAD_MAX - head.len())?;
        if stream.by_ref().take(limit).read_line(&mut line)? == 0 {
            if head.is_empty() {
                return Ok(None);
            }
            bail!("a request cut short, or longer than {HEAD_MAX} bytes");
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next())
    else {
        bail!("not a request: `{head}`");
    };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body: String::new(),
        last: version == "HTTP/1.0",
    };
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().context("a length that is no number")?;
        } else if name.eq_ignore_ascii_case("connection") {
            request.last = value.eq_ignore_ascii_case("close");
        }
    }
    if length > BODY_MAX {
        bail!("a body of {length} bytes is too long");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

/// Writes a response, with one `write`: one packet if it is small.
pub(crate) fn write(
    stream: &mut impl Write,
    status: &str,
    server: &str,
    body: &str,
) -> std::io::Result<()> {
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Served-By: {server}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let mut bytes: &[u8] = b"POST /notes HTTP/1.1\r\nhost: x\r\nContent-Length: 2\r\n\r\nhi\
            GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let first = read(&mut bytes).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/notes"));
        assert_eq!((first.body.as_str(), first.last), ("hi", false));
        assert!(read(&mut bytes).unwrap().unwrap().last);
        assert_eq!(read(&mut bytes).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in ["\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"] {
            assert!(read(&mut bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        let endless = "x".repeat(HEAD_MAX + 1);
        assert!(read(&mut endless.as_bytes()).is_err());
    }
}
