//! A server's address, `host:port`, or `https://host:port`, and the path it is behind: which are unsupported, and what to
//! write instead. Pure: resolves no names, and reads no files.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `host:port`, as given; the value of `Host` and `:authority`.
    pub authority: String,
    /// The path before that of the protocol, such as `/triton`; empty if there is none.
    #[serde(default)]
    pub prefix: String,
    /// The IP address to connect to, of those behind the name; `None` leaves the choice to the system.
    pub peer: Option<SocketAddr>,
    /// How connections are encrypted; `None` if they are not.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// What `Host` and `:authority` say; `None`: the address itself.
    #[serde(default)]
    pub host_header: Option<String>,
    /// Headers of every request to it, metadata of gRPC: names and where their values are.
    #[serde(default)]
    pub headers: Vec<(String, HeaderSource)>,
}

/// Where the value of a header is. A secret stays there until a request is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum HeaderSource {
    /// Here.
    Text(String),
    /// In an environment variable, after a prefix such as `Bearer `.
    Env { name: String, prefix: String },
    /// In a file, after a prefix; spaces and line breaks around it are not part of it.
    File { path: PathBuf, prefix: String },
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// How connections to an address are encrypted. Files are named, and read by whoever connects: no key leaves its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tls {
    /// The scheme of the address as given: `https` or `grpcs`.
    pub scheme: String,
    /// The certificates of the authorities that are trusted, in PEM; `None` trusts those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The client's own certificate chain and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate has to be for; `None`: the address's host.
    pub name: Option<String>,
    /// Whether any certificate is taken.
    pub insecure: bool,
}

/// The schemes of encrypted addresses.
const SECURE: [&str; 2] = ["https", "grpcs"];

impl Address {
    /// An address on this machine.
    pub fn local(port: u16) -> Self {
        Address {
            authority: format!("localhost:{port}"),
            prefix: String::new(),
            peer: None,
            tls: None,
            host_header: None,
            headers: Vec::new(),
        }
    }

    /// Reads `host:port`, `https://host:port` or `grpcs://host:port`, each with the path it is behind, if any.
    ///
    /// # Errors
    /// It is something else, or unsupported: the remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(help) = unsupported(text) {
            return Err(help.to_owned());
        }
        let secure = text.split_once("://").filter(|(scheme, _)| SECURE.contains(scheme));
        let tls = secure.map(|(scheme, _)| Tls { scheme: scheme.to_owned(), ..Tls::default() });
        let text = secure.map_or(text, |(_, rest)| rest);
        if text.contains("://") {
            return Err("leave the scheme out, \"localhost:8000\", or write https:// or grpcs:// for TLS".to_owned());
        }
        if text.contains('@') {
            return Err("leave user names and passwords out of the address".to_owned());
        }
        let (text, prefix) = match text.split_once('/') {
            Some((text, path)) => (text, prefix(path)?),
            None => (text, String::new()),
        };
        if let Some(bracketed) = bracketed(text) {
            return Err(format!("write an IPv6 address in brackets: \"{bracketed}\""));
        }
        let authority: http::uri::Authority = text
            .parse()
            .map_err(|_| "write host and port alone, such as \"localhost:8000\"".to_owned())?;
        if authority.port_u16().is_none_or(|port| port == 0) || authority.host().is_empty() {
            return Err("name a port from 1 to 65535: \"localhost:8000\"".to_owned());
        }
        Ok(Address {
            authority: text.to_owned(),
            prefix,
            peer: None,
            tls,
            host_header: None,
            headers: Vec::new(),
        })
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']'])
    }

    /// The port.
    pub fn port(&self) -> Option<u16> {
        self.authority.rsplit_once(':')?.1.parse().ok()
    }

    /// Whether it is this machine's own; `localhost` in a container's network may be another container.
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tls) = &self.tls {
            write!(formatter, "{}://", tls.scheme)?;
        }
        write!(formatter, "{}{}", self.authority, self.prefix)
    }
}

/// Headers that the program itself sends, or that would break a connection.
const OWN: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "te",
    "accept-encoding",
    "inference-header-content-length",
    "upgrade",
];

/// Why a header cannot be sent; `None` if it can.
pub fn refused_header(name: &str) -> Option<&'static str> {
    let known = http::HeaderName::from_bytes(name.as_bytes()).ok();
    match known {
        None => Some("the name of a header has letters, digits and hyphens"),
        Some(name) if name == "host" => Some("write host = \"NAME\" beside headers instead"),
        Some(name) if OWN.contains(&name.as_str()) => Some("the program sends it itself: remove it"),
        Some(_) => None,
    }
}

/// Whether a text may be the value of a header.
pub fn is_header_value(text: &str) -> bool {
    http::HeaderValue::from_str(text).is_ok()
}

/// The remedy for an address that is unsupported, or not supported yet; `None` does not prove it valid.
pub fn unsupported(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    let is_secure = scheme.is_some_and(|scheme| SECURE.contains(&scheme));
    if scheme.is_some() && !is_secure || rest.contains('@') {
        return None;
    }
    let rest = rest.split('/').next().unwrap_or(rest);
    if rest.contains('%') {
        return Some("an IPv6 address with a zone cannot be asked: give one without, or the host's name");
    }
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    if port.contains(|digit: char| !digit.is_ascii_digit()) && !port.contains(']') {
        return Some("name a port from 1 to 65535, in digits: \"localhost:8000\"");
    }
    // names in container networks contain underscores
    let in_names = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_' | '[' | ']' | ':');
    (!host.chars().all(in_names)).then_some("name one host by its name or its address: \"localhost:8000\"")
}

/// The path that a server is behind, from what follows the first slash.
///
/// # Errors
/// It is none: the remedy.
fn prefix(path: &str) -> Result<String, String> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let in_segments = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | '~');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(in_segments);
    match path.split('/').next_back() {
        Some("v2") => Err("leave /v2 out, which every request has: write what is before it".to_owned()),
        _ if path.split('/').all(is_segment) => Ok(format!("/{path}")),
        _ => Err("write the path that the server is behind plainly, such as \"gpu-box:8000/triton\"".to_owned()),
    }
}

/// Adds the missing brackets to an IPv6 address; the part after its last colon is most likely the port.
fn bracketed(text: &str) -> Option<String> {
    let with_port = text.rsplit_once(':').and_then(|(host, port)| {
        let address: Ipv6Addr = host.parse().ok()?;
        // fewer digits are most likely part of the address
        let port: u16 = port.parse().ok().filter(|port| *port > 999)?;
        Some(format!("[{address}]:{port}"))
    });
    with_port.or_else(|| text.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]:PORT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told_apart() {
        for (text, words) in [
            ("grpcs://a b:8001", "one host"),
            ("fe80::1%eth0", "zone"),
            ("[fe80::1%eth0]:8000", "zone"),
            ("localhost:+80", "digits"),
            ("*:8000", "one host"),
            ("a b:8000", "one host"),
        ] {
            assert!(unsupported(text).is_some_and(|help| help.contains(words)), "{text}: {:?}", unsupported(text));
        }
        for text in [
            "localhost:8000",
            "[::1]:8000",
            "::1",
            "10.0.0.1:1",
            "my_box-1.example:8000",
            "bücher.example:1",
            "localhost:8000/v2",
        ] {
            assert_eq!(unsupported(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let address = |text| Address::parse(text).unwrap();
        for (text, host, port, is_loopback) in [
            ("localhost:8000", "localhost", 8000, true),
            ("[::1]:8001", "::1", 8001, true),
            ("127.0.0.2:1", "127.0.0.2", 1, true),
            ("gpu-box:65535", "gpu-box", 65535, false),
        ] {
            let found = address(text);
            assert_eq!((found.host(), found.port(), found.is_loopback()), (host, Some(port), is_loopback), "{text}");
            assert_eq!(found.to_string(), text);
        }
        for (text, authority) in
            [("https://gpu-box:8443", "gpu-box:8443"), ("grpcs://[::1]:8444", "[::1]:8444"), ("https://b:1/", "b:1")]
        {
            let found = address(text);
            assert_eq!((found.authority.as_str(), found.to_string().as_str()), (authority, text.trim_end_matches('/')));
            assert!(found.tls.is_some_and(|tls| text.starts_with(&tls.scheme) && !tls.insecure), "{text}");
        }
        for (text, prefix) in
            [("https://b:1/triton", "/triton"), ("b:1/a/b-2/", "/a/b-2"), ("b:1", ""), ("grpcs://b:1/x.y~z", "/x.y~z")]
        {
            let found = address(text);
            assert_eq!((found.authority.as_str(), found.prefix.as_str()), ("b:1", prefix), "{text}");
            assert_eq!(found.to_string(), text.trim_end_matches('/'));
        }
        for (text, help) in [
            ("b:1/v2", "leave /v2 out"),
            ("https://b:1/triton/v2/", "leave /v2 out"),
            ("b:1/a/../b", "plainly"),
            ("b:1//a", "plainly"),
            ("b:1/a?b", "plainly"),
            ("b:1/a b", "plainly"),
            ("https://localhost", "name a port"),
            ("https://me:secret@localhost:8000", "passwords"),
            ("ftps://localhost:8000", "scheme"),
            ("localhost", "name a port"),
            ("localhost:0", "name a port"),
            ("http://localhost:8000", "scheme"),
            ("me:secret@localhost:8000", "passwords"),
            ("::1:8000", "\"[::1]:8000\""),
            ("::1", "\"[::1]:PORT\""),
            ("", "host and port"),
        ] {
            assert!(
                Address::parse(text).is_err_and(|words| words.contains(help)),
                "{text}: {:?}",
                Address::parse(text)
            );
        }
    }
}
