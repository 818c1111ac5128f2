//! A server's addresses, and how connections to them are encrypted.

use toml::Spanned;

use super::super::error::{Document, Errors};
use super::super::tree::Table;
use super::{Checked, GRPC_PORT, HTTP_PORT, METRICS_PORT, Server, existing};
use crate::address::{Address, Tls};

/// The keys that say how connections are encrypted.
const TLS: [&str; 5] = ["tls_ca", "tls_certificate", "tls_key", "tls_name", "tls_insecure"];

/// The address of a key; by default, Triton's default port on this machine.
fn address(document: &Document<'_>, server: &Table<'_>, key: &str, default: u16) -> Checked<Address> {
    let Some(value) = server.text(key) else { return Ok(Address::local(default)) };
    Address::parse(value.get_ref()).map_err(|help| document.unexpected(&value, "host:port", help))
}

/// The metrics' address. Defaults to that of a server on the default ports, and is otherwise unknown.
fn metrics(document: &Document<'_>, server: &Table<'_>) -> Checked<Option<Address>> {
    let default = ["http", "grpc"].iter().all(|key| server.value(key).is_none());
    if server.value("metrics").is_none() && !default {
        return Ok(None);
    }
    address(document, server, "metrics", METRICS_PORT).map(Some)
}

/// The server in a table. `None` once there is an error; all errors are kept.
pub(super) fn server(document: &Document<'_>, table: &Table<'_>, errors: &mut Errors) -> Option<Server> {
    let http = errors.keep(address(document, table, "http", HTTP_PORT));
    let grpc = errors.keep(address(document, table, "grpc", GRPC_PORT));
    let metrics = errors.keep(metrics(document, table));
    let mut server = Server { http: http?, grpc: grpc?, metrics: metrics?, is_embedded: false };
    errors.keep(encrypt(document, table, &mut server))?;
    Some(server)
}

/// Completes the addresses that ask for TLS.
fn encrypt(document: &Document<'_>, table: &Table<'_>, server: &mut Server) -> Checked<()> {
    let file = |key: &str| table.text(key).map(|file| existing(document, &file, "a file in PEM")).transpose();
    let (ca, certificate, key) = (file("tls_ca")?, file("tls_certificate")?, file("tls_key")?);
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let (given, missing) = if certificate.is_some() {
                ("tls_certificate", "tls_key")
            } else {
                ("tls_key", "tls_certificate")
            };
            let place = table.value(given).map_or(0..0, Spanned::span);
            let problem = format!("{given} without {missing}");
            return Err(document.error(place, problem, format!("give both, or none: add {missing}")));
        }
    };
    let name = table.text("tls_name").map(|name| host_name(document, &name)).transpose()?;
    let insecure = table.flag("tls_insecure").unwrap_or(false);
    let given = Tls { scheme: String::new(), ca, identity, name, insecure };
    let mut any = false;
    for address in [Some(&mut server.http), Some(&mut server.grpc), server.metrics.as_mut()]
        .into_iter()
        .flatten()
    {
        if let Some(tls) = &mut address.tls {
            *tls = Tls { scheme: tls.scheme.clone(), ..given.clone() };
            any = true;
        }
    }
    if let (Some((key, place)), false) = (TLS.iter().find_map(|key| Some((key, table.value(key)?.span()))), any) {
        let problem = format!("{key}, but no address of this server asks for TLS");
        let help =
            "write the address as http = \"https://host:port\" or grpc = \"grpcs://host:port\", or remove the key";
        return Err(document.error(place, problem, help));
    }
    Ok(())
}

/// A name as certificates have it.
fn host_name(document: &Document<'_>, value: &Spanned<String>) -> Checked<String> {
    let name = value.get_ref();
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_'));
    match is_name && name.parse::<std::net::IpAddr>().is_err() {
        true => Ok(name.clone()),
        false => {
            Err(document.unexpected(value, "the name of a host", "write it as in the certificate: \"triton.example\""))
        }
    }
}
