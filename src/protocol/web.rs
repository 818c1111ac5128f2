//! The HTTP client of what is not timed, and the URLs of the protocol. Must not know what is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use tokio::net::lookup_host;

use crate::address::{Address, Tls};
use crate::protocol::tls::{self, Spoken};
use crate::protocol::{Fault, FaultKind, headers};

/// A client that keeps one HTTP/1.1 connection, uses no proxy and requests no compression.
pub(in crate::protocol) fn client(address: &Address, connect_timeout: Duration) -> Result<Client, Fault> {
    let mut builder = Client::builder();
    if let (Some(peer), Some((host, _))) = (address.peer, address.authority.rsplit_once(':')) {
        builder = builder.resolve(host, peer);
    }
    let mut headers = headers::of(address)?;
    let is_named = address.tls.as_ref().is_some_and(|tls| tls.name.is_some());
    if is_named {
        // the name in the URL is that of the certificate, and only the address's own is looked up
        builder = builder.dns_resolver(Arc::new(Elsewhere(address.clone())));
    }
    if is_named || address.host_header.is_some() {
        let host = address.host_header.as_ref().unwrap_or(&address.authority);
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|error| Fault::of_transport(&error))?);
    }
    let builder = builder.default_headers(headers);
    builder
        .tls_backend_preconfigured(match &address.tls {
            Some(tls) => (*tls::config(tls, Spoken::Http1)?).clone(),
            None => no_tls()?,
        })
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(None)
        .connect_timeout(connect_timeout)
        .build()
        .map_err(|error| Fault::of_transport(&error))
}

/// A TLS configuration that trusts nobody: otherwise the client would read the system's certificates for every
/// connection, although this one is not encrypted.
fn no_tls() -> Result<rustls::ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::of_transport(&error))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// Where the host of an address is, whatever name is asked for.
struct Elsewhere(Address);

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let Address { authority, peer, .. } = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = match peer {
                Some(peer) => vec![peer],
                None => lookup_host(authority).await?.collect(),
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// `http://HOST:PORT`, or `https://HOST:PORT`, with the name that the certificate has to be for, and the path that the server is
/// behind.
pub(in crate::protocol) fn base_of(address: &Address) -> String {
    let Address { authority, prefix, .. } = address;
    match &address.tls {
        None => format!("http://{authority}{prefix}"),
        Some(Tls { name: Some(name), .. }) => format!("https://{name}:{}{prefix}", address.port().unwrap_or_default()),
        Some(_) => format!("https://{authority}{prefix}"),
    }
}

/// `http://ADDRESS/v2/SEGMENT/..`, each segment escaped: names from outside stay one segment. `base` is that of
/// [`base_of`].
pub(in crate::protocol) fn url(base: &str, segments: &[&str]) -> Result<Url, Fault> {
    let bad = |cause: &dyn std::fmt::Display| {
        Fault::new(FaultKind::Connect, format!("the HTTP address \"{base}\" is not host:port: {cause}"))
    };
    let mut url = Url::parse(&format!("{base}/v2")).map_err(|cause| bad(&cause))?;
    url.path_segments_mut().map_err(|()| bad(&"it cannot hold a path"))?.extend(segments);
    Ok(url)
}
