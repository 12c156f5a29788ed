//! Who is let in by what a request says of itself: on loopback only what was meant for this machine, so that a page in
//! somebody's browser cannot ask; and only JSON that says that it is.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header};

use super::fault::Fault;

/// The media type of bodies.
const JSON: &str = "application/json";

/// What a server on loopback lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// The name that it listens on, where only those who ask for this machine are let in.
    local: Option<String>,
}

impl Door {
    /// A door that lets in whoever means this machine, by `host` or a name of loopback.
    pub(crate) fn of_this_machine(host: &str) -> Self {
        Self { local: Some(host.to_owned()) }
    }

    /// A door for everybody: who asks has a key, which a page in a browser has not.
    pub(super) fn of_everybody() -> Self {
        Self { local: None }
    }

    /// The header by which a request is meant for another machine, or comes from a page of one, and what it says.
    pub(crate) fn foreign<'h>(&self, headers: &'h HeaderMap) -> Option<(&'static str, &'h str)> {
        let host = self.local.as_ref()?;
        [(header::HOST, "Host", false), (header::ORIGIN, "Origin", true)].into_iter().find_map(
            |(name, said, is_url)| {
                let mut values = headers.get_all(&name).iter().map(|value| value.to_str().unwrap_or_default());
                values.find(|value| !is_here(value, is_url, host)).map(|value| (said, value))
            },
        )
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// When `Host` or `Origin` are of another machine, or a body does not say that it is JSON.
    pub(super) fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Fault> {
        if let Some((name, value)) = self.foreign(headers) {
            return Err(Fault::foreign(name, value));
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if method == Method::POST && !kind.eq_ignore_ascii_case(JSON) {
            return Err(Fault::no_json_type(kind));
        }
        Ok(())
    }
}

/// Whether a `Host`, or the URL of an `Origin`, is of this machine.
fn is_here(value: &str, is_url: bool, own: &str) -> bool {
    let authority = match value.split_once("://") {
        Some(("http" | "https", authority)) if is_url => authority,
        None if !is_url => value,
        _ => return false,
    };
    let name = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => authority,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name == own.to_ascii_lowercase()
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn admitted(door: &Door, method: &Method, all: &[(HeaderName, &str)]) -> Result<(), Fault> {
        let headers = all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        door.admit(method, &headers.collect())
    }

    #[test]
    fn only_what_means_this_machine_is_let_in() {
        let door = Door::of_this_machine("My-Machine");
        let get = |all: &[(HeaderName, &str)]| admitted(&door, &Method::GET, all);
        for host in
            ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "a.localhost.", "my-machine:80"]
        {
            assert_eq!(get(&[(header::HOST, host)]), Ok(()), "{host}");
            let origin = format!("http://{host}");
            assert_eq!(get(&[(header::ORIGIN, origin.as_str())]), Ok(()), "{host}");
        }
        assert_eq!(get(&[]), Ok(()), "a page in a browser always says its host");
        for host in [
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
        ] {
            let origin = format!("https://{host}");
            let both = [(header::HOST, "localhost"), (header::ORIGIN, origin.as_str())];
            assert!(get(&[(header::HOST, host)]).is_err() && get(&both).is_err(), "{host}");
        }
        for origin in ["null", "localhost", "file://localhost", "chrome-extension://localhost"] {
            assert!(get(&[(header::ORIGIN, origin)]).is_err(), "{origin}");
        }
        let everybody = [(header::HOST, "evil.example"), (header::ORIGIN, "https://evil.example")];
        assert_eq!(admitted(&Door::of_everybody(), &Method::GET, &everybody), Ok(()), "it has no key");
    }

    #[test]
    fn a_body_says_that_it_is_json() {
        for door in [Door::of_everybody(), Door::of_this_machine("localhost")] {
            let post = |kind: &str| admitted(&door, &Method::POST, &[(header::CONTENT_TYPE, kind)]);
            for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x"] {
                assert_eq!(post(kind), Ok(()), "{kind}");
            }
            for kind in ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                assert!(post(kind).is_err(), "{kind}");
            }
            assert!(admitted(&door, &Method::POST, &[]).is_err());
        }
    }
}
