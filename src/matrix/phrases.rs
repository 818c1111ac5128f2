//! Wording of points of the matrix in sentences, headings and progress lines.

use super::variants::{Encode, Encryption, Protocol};

/// A protocol in prose.
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Grpc => "gRPC",
    }
}

/// When requests are encoded, in prose.
pub fn encode(encode: Encode) -> &'static str {
    match encode {
        Encode::Once => "encoded once",
        Encode::EachRequest => "encoded for each request",
    }
}

/// Whether connections are encrypted, in prose.
pub fn tls(tls: Encryption) -> &'static str {
    match tls {
        Encryption::Off => "without TLS",
        Encryption::On => "over TLS",
    }
}

/// `1 process`, `3 processes`.
pub fn processes(processes: u32) -> String {
    if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") }
}

/// `1 host`, `4 hosts`.
pub fn hosts(hosts: u32) -> String {
    if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") }
}

/// `1 connection`, `4 connections`.
pub fn connections(connections: u32) -> String {
    if connections == 1 {
        "1 connection".to_owned()
    } else {
        format!("{connections} connections")
    }
}

/// `4 in flight`, `64 in flight over 4 connections`, `100 requests/s, at most 64 in flight`.
pub fn load(rate: Option<f64>, concurrency: u32, connections: u32) -> String {
    let rate = rate.map(|rate| format!("{rate} requests/s, at most ")).unwrap_or_default();
    let over = match connections == concurrency {
        true => String::new(),
        false => format!(" over {}", self::connections(connections)),
    };
    format!("{rate}{concurrency} in flight{over}")
}

/// `1 distinct request`, `64 distinct requests`.
pub fn distinct(distinct: u32) -> String {
    if distinct == 1 {
        "1 distinct request".to_owned()
    } else {
        format!("{distinct} distinct requests")
    }
}
