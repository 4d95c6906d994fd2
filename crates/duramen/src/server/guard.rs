//! Who may ask. Owns the token of addresses that other machines reach, and the two checks that keep pages in a browser on this
//! machine from asking a daemon on loopback in its user's name.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::server::refuse;

/// What an address asks of its clients.
#[derive(Clone, Debug)]
pub enum Guard {
    /// They are on this machine; what they may not be is somebody else's page.
    Local,
    /// They show a token.
    Token(Arc<str>),
}

/// Lets a request through or refuses it.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(words) = foreign(headers) {
        return refuse(StatusCode::FORBIDDEN, words);
    }
    match &guard {
        Guard::Local if !is_local_name(headers, request.uri()) => {
            refuse(StatusCode::FORBIDDEN, "ask this machine by its loopback address or as localhost")
        }
        Guard::Token(token) if request.uri().path() != "/healthz" && !shows(headers, token) => {
            // Browsers ask their user for a password: the token.
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"duramen\"")];
            (ask, refuse(StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer TOKEN")).into_response()
        }
        _ => next.run(request).await,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A request that a page of another origin makes.
fn foreign(headers: &HeaderMap) -> Option<&'static str> {
    let origin = text(headers, header::ORIGIN)?;
    let host = text(headers, header::HOST).unwrap_or("");
    let own = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    (!own).then_some("pages of other origins may not ask")
}

/// Whether the request names this machine as nobody else's name can: a name that leads here for a moment (DNS rebinding) is none.
fn is_local_name(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = uri.host().or_else(|| text(headers, header::HOST)).unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the token is shown, as a bearer's or as any user's password.
fn shows(headers: &HeaderMap, token: &str) -> bool {
    let Some(shown) = text(headers, header::AUTHORIZATION) else { return false };
    match shown.split_once(' ') {
        Some((kind, shown)) if kind.eq_ignore_ascii_case("bearer") => {
            is_equal(shown.trim().as_bytes(), token.as_bytes())
        }
        Some((kind, shown)) if kind.eq_ignore_ascii_case("basic") => {
            let decoded = base64(shown.trim()).unwrap_or_default();
            let password = decoded.iter().position(|byte| *byte == b':').map(|at| &decoded[at + 1..]);
            password.is_some_and(|password| is_equal(password, token.as_bytes()))
        }
        _ => false,
    }
}

/// Compares without telling by its time where they differ.
pub fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (l, r)| differs | (l ^ r)) == 0
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_token_is_shown_in_two_ways() {
        let shown = |value| shows(&headers(&[(header::AUTHORIZATION, value)]), "open sesame");
        assert!(shown("Bearer open sesame"));
        assert!(shown("Basic YW55Ym9keTpvcGVuIHNlc2FtZQ=="));
        for wrong in ["Bearer open", "Bearer", "open sesame", "Basic b3BlbiBzZXNhbWU=", "Basic ?", "Digest open sesame"]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!shows(&HeaderMap::new(), "open sesame"));
    }

    #[test]
    fn other_pages_are_kept_out() {
        let with = |host, origin| foreign(&headers(&[(header::HOST, host), (header::ORIGIN, origin)])).is_some();
        assert!(!with("127.0.0.1:7420", "http://127.0.0.1:7420"));
        assert!(with("127.0.0.1:7420", "http://evil.example"));
        assert!(with("127.0.0.1:7420", "null"));
        assert!(foreign(&headers(&[(header::HOST, "127.0.0.1:7420")])).is_none());
    }

    #[test]
    fn only_local_names_are_local() {
        let local = |host| is_local_name(&headers(&[(header::HOST, host)]), &Uri::from_static("/"));
        for name in ["127.0.0.1:7420", "localhost", "LOCALHOST:1", "[::1]:7420", "127.9.9.9"] {
            assert!(local(name), "{name}");
        }
        for name in ["evil.example:7420", "", "127.0.0.1.evil.example", "10.0.0.1:7420"] {
            assert!(!local(name), "{name}");
        }
    }
}
