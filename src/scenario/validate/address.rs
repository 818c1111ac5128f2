//! Addresses that name no server which could be asked, and what to write instead. Pure.

/// The remedy for an address that cannot be asked, or not yet; `None` says nothing of whether it can.
pub fn unsupported(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    if scheme.is_some_and(|scheme| scheme.ends_with('s')) {
        return Some("TLS (https) is not spoken yet: give the server's own port, or a proxy's that takes the TLS off");
    }
    if rest.trim_end_matches('/').contains('/') && !rest.ends_with("/v2") {
        return Some("write host and port alone: a server behind a path (a prefix before /v2) cannot be asked yet");
    }
    if scheme.is_some() || rest.contains(['@', '/']) {
        return None;
    }
    if rest.contains('%') {
        return Some("an IPv6 address with a zone cannot be asked: give one without, or the host's name");
    }
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    if port.contains(|digit: char| !digit.is_ascii_digit()) && !port.contains(']') {
        return Some("name a port from 1 to 65535, in digits: \"localhost:8000\"");
    }
    // underscores are in the names that container networks give
    let in_names = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_' | '[' | ']' | ':');
    (!host.chars().all(in_names)).then_some("name one host by its name or its address: \"localhost:8000\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told_apart() {
        for (text, words) in [
            ("https://gpu-box:8000", "TLS"),
            ("grpcs://gpu-box:8001", "TLS"),
            ("box:8000/prefix", "behind a path"),
            ("http://box:8000/models/v1/", "behind a path"),
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
}
