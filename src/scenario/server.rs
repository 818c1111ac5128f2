//! The addresses of a server, with and without TLS.

use crate::address::Address;
use crate::matrix::{AxisId, Encryption, Matrix, Protocol, Value};

/// The addresses of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Server {
    pub http: Address,
    pub grpc: Address,
    /// Address of the server's metrics; `None` if unknown.
    pub metrics: Option<Address>,
    /// Its addresses over TLS, for HTTP and gRPC, where both are compared.
    pub encrypted: [Option<Address>; 2],
    /// Whether it is the program's own server, whose addresses are known only once it runs.
    pub is_embedded: bool,
}

impl Server {
    /// The embedded server, before it is started.
    pub fn embedded() -> Self {
        Server {
            http: Address::local(0),
            grpc: Address::local(0),
            metrics: None,
            encrypted: [None, None],
            is_embedded: true,
        }
    }

    /// The same server as a case asks it, with its addresses over TLS if the case is for those.
    pub(super) fn asked(&self, tls: Option<Encryption>) -> Self {
        let mut server = self.clone();
        let encrypted = std::mem::take(&mut server.encrypted);
        if tls == Some(Encryption::On) {
            let [http, grpc] = encrypted;
            (server.http, server.grpc) = (http.unwrap_or(server.http), grpc.unwrap_or(server.grpc));
        }
        server
    }

    /// The key of its address over TLS for a protocol, and that address.
    fn over_tls(&self, protocol: Protocol) -> (&'static str, Option<&Address>) {
        let [http, grpc] = &self.encrypted;
        match protocol {
            Protocol::Http => ("http_tls", http.as_ref()),
            Protocol::Grpc => ("grpc_tls", grpc.as_ref()),
        }
    }

    /// The address for a protocol.
    pub fn address(&self, protocol: Protocol) -> &Address {
        match protocol {
            Protocol::Http => &self.http,
            Protocol::Grpc => &self.grpc,
        }
    }

    /// The same, mutable: to note which of the name's addresses answered.
    pub fn address_mut(&mut self, protocol: Protocol) -> &mut Address {
        match protocol {
            Protocol::Http => &mut self.http,
            Protocol::Grpc => &mut self.grpc,
        }
    }

    /// Checks that it has addresses with and without TLS, if a matrix compares them.
    ///
    /// # Errors
    /// It has not: the remedy.
    pub(super) fn has_what_is_compared(&self, matrix: &Matrix) -> Result<(), String> {
        let given = matrix.given(AxisId::Tls);
        let has = |tls: Encryption| given.contains(&Value::Word(tls.name()));
        if self.is_embedded && has(Encryption::On) {
            return Err(
                "tls: the embedded server has no TLS: leave tls out of [matrix], or put a proxy in front".to_owned()
            );
        }
        for protocol in matrix.protocols() {
            let (key, over_tls) = self.over_tls(protocol);
            if has(Encryption::On) && over_tls.is_none() {
                return Err(format!("tls: a server has no address over TLS: add {key} to every server that is asked"));
            }
            if has(Encryption::Off) && self.address(protocol).tls.is_some() {
                let plain = protocol.name();
                return Err(format!(
                    "tls: the address of {plain} is over TLS already: write it as {key}, and as {plain} the one without"
                ));
            }
        }
        Ok(())
    }
}
