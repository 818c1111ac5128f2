//! A server's addresses, and how connections to them are encrypted.

use toml::Spanned;
use toml::de::DeValue;

use super::super::error::{Document, Errors};
use super::super::tree::Table;
use super::{Checked, GRPC_PORT, HTTP_PORT, METRICS_PORT, Server, existing};
use crate::address::{Address, HeaderSource, Tls, is_header_value, refused_header};

/// Headers whose values are secrets.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

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
    let over_tls = errors.keep(encrypted(document, table));
    let mut server = Server { http: http?, grpc: grpc?, metrics: metrics?, encrypted: over_tls?, is_embedded: false };
    errors.keep(encrypt(document, table, &mut server))?;
    errors.keep(accompany(document, table, &mut server))?;
    Some(server)
}

/// The addresses over TLS, for HTTP and gRPC.
fn encrypted(document: &Document<'_>, table: &Table<'_>) -> Checked<[Option<Address>; 2]> {
    let over_tls = |key: &str| {
        let Some(value) = table.text(key) else { return Ok(None) };
        let address = address(document, table, key, 0)?;
        let help = "write it as http_tls = \"https://host:port\" or grpc_tls = \"grpcs://host:port\"";
        match address.tls {
            Some(_) => Ok(Some(address)),
            None => Err(document.unexpected(&value, "an address over TLS", help)),
        }
    };
    Ok([over_tls("http_tls")?, over_tls("grpc_tls")?])
}

/// All addresses of a server.
fn all_of(server: &mut Server) -> impl Iterator<Item = &mut Address> {
    let Server { http, grpc, metrics, encrypted, .. } = server;
    [http, grpc].into_iter().chain(metrics).chain(encrypted.iter_mut().flatten())
}

/// Completes the addresses with what goes with every request.
fn accompany(document: &Document<'_>, table: &Table<'_>, server: &mut Server) -> Checked<()> {
    let host = table.text("host").map(|host| authority(document, &host)).transpose()?;
    let mut headers = Vec::new();
    for (name, value) in table.table("headers").entries() {
        if let Some(help) = refused_header(&name) {
            return Err(document.error(value.span(), format!("the header {name:?} cannot be set"), help));
        }
        let source = match value.get_ref() {
            DeValue::String(_) if SECRET.contains(&name.to_ascii_lowercase().as_str()) => {
                let help = format!(
                    "a scenario's text is kept with the results: write {name} = {{env = \"NAME\"}} or {{file = \"PATH\"}}"
                );
                return Err(document.error(value.span(), format!("the value of {name} does not belong here"), help));
            }
            DeValue::String(text) if is_header_value(text) => HeaderSource::Text(text.to_string()),
            DeValue::Table(_) => elsewhere(document, &table.table("headers").table(&name), &name)?,
            _ => return Err(document.unexpected(value, "a header's value", "write one line of ASCII characters")),
        };
        headers.push((name.to_ascii_lowercase(), source));
    }
    for address in all_of(server) {
        address.host_header.clone_from(&host);
        address.headers.clone_from(&headers);
    }
    Ok(())
}

/// Where the value of a header is.
fn elsewhere(document: &Document<'_>, table: &Table<'_>, name: &str) -> Checked<HeaderSource> {
    let prefix = table.text("prefix").map_or(String::new(), |prefix| prefix.get_ref().clone());
    match (table.text("env"), table.text("file")) {
        (Some(env), None) => Ok(HeaderSource::Env { name: env.get_ref().clone(), prefix }),
        (None, Some(file)) => Ok(HeaderSource::File { path: existing(document, &file, "a file")?, prefix }),
        (both, _) => {
            let problem = format!("{} for the header {name}", if both.is_some() { "two values" } else { "no value" });
            Err(document.error(table.span(), problem, "give env = \"NAME\" or file = \"PATH\""))
        }
    }
}

/// What `Host` may say: a host, with or without a port.
fn authority(document: &Document<'_>, value: &Spanned<String>) -> Checked<String> {
    let text = value.get_ref();
    let is_host = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | ':' | '[' | ']');
    match !text.is_empty() && text.chars().all(is_host) {
        true => Ok(text.clone()),
        false => {
            let help = "write what Host has to say: \"scrfd.models.example\"";
            Err(document.unexpected(value, "a host, with or without a port", help))
        }
    }
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
    for address in all_of(server) {
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
