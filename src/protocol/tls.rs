//! Connections with and without TLS. It lies above the metered stream, so that what is counted and timestamped is what the
//! system gets, encrypted or not. Must not know what is sent.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::{Address, Tls};
use crate::protocol::stream::{IoObserver, MeteredStream};
use crate::protocol::{CONNECT_TIMEOUT, Fault, FaultKind};

/// What is spoken over a connection, as TLS names it (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::protocol) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, of gRPC.
    Http2,
}

impl Spoken {
    fn name(self) -> &'static [u8] {
        match self {
            Spoken::Http1 => b"http/1.1",
            Spoken::Http2 => b"h2",
        }
    }
}

/// A connection, encrypted or not.
pub(in crate::protocol) enum Stream {
    Plain(MeteredStream),
    Tls(Box<Encrypted>),
}

/// A connection of TLS, which both sides have agreed on; the server may still refuse the client.
pub(in crate::protocol) struct Encrypted {
    stream: TlsStream<MeteredStream>,
    /// Whether anything came from the server since.
    heard: bool,
}

impl Stream {
    /// Connects, and agrees on TLS where the address asks for it.
    pub(in crate::protocol) async fn connect(
        to: &Address,
        spoken: Spoken,
        observer: Rc<dyn IoObserver>,
    ) -> Result<Stream, Fault> {
        let Some(tls) = &to.tls else {
            return MeteredStream::connect(to, observer).await.map(Stream::Plain);
        };
        let failed = |cause: &str| Fault::new(FaultKind::Connect, format!("no TLS connection to {to}: {cause}"));
        let config = config(tls, spoken)?;
        let name = tls.name.as_deref().unwrap_or(to.host());
        let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error.to_string()))?;
        let stream = MeteredStream::connect(to, observer).await?;
        let agreed = timeout(CONNECT_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await;
        let stream = match agreed {
            Ok(agreed) => agreed.map_err(|error| failed(explained(error).to_string().trim_start_matches("TLS: ")))?,
            Err(_) => return Err(failed(&format!("not agreed within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        // without ALPN a server of HTTP/2 may still speak it
        if stream.get_ref().1.alpn_protocol().is_some_and(|agreed| agreed != spoken.name()) {
            return Err(failed("the server speaks another protocol on this port"));
        }
        Ok(Stream::Tls(Box::new(Encrypted { stream, heard: false })))
    }

    /// Whether the connection is open with no unsolicited bytes.
    pub(in crate::protocol) fn is_quiet(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_quiet(),
            Stream::Tls(encrypted) => encrypted.stream.get_ref().0.is_quiet(),
        }
    }
}

/// An error of TLS, and what to do about it; `None` if it is none, or one of the connection below.
pub(in crate::protocol) fn said(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // as deep in errors of the system as libraries have put it
    let mut error = error;
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(|io| io.get_ref()) {
        error = inner;
    }
    match error.downcast_ref::<rustls::Error>() {
        Some(error) => Some(format!("TLS: {error}{}", help(error))),
        // the library has no other word for it
        None if error.to_string() == "tls handshake eof" => {
            Some(format!("TLS: the connection was closed before anything was agreed on{NOT_TLS}"))
        }
        None => None,
    }
}

/// The same error with the words of [`said`]: some libraries keep no more of an error than its words.
fn explained(error: io::Error) -> io::Error {
    match said(&error) {
        Some(words) => io::Error::new(error.kind(), words),
        None => error,
    }
}

impl Encrypted {
    /// Why writing failed: a server that refuses a client says so before it closes the connection, and only reading finds that.
    /// Over TLS 1.3 that is how it refuses a client's certificate.
    fn refused(&mut self, context: &mut Context<'_>, error: io::Error) -> io::Error {
        match Pin::new(&mut self.stream).poll_fill_buf(context) {
            Poll::Ready(Err(reason)) if said(&reason).is_some() => explained(reason),
            _ => self.explained(error),
        }
    }

    /// [`explained`], and what it means if the server closes the connection before it has said anything: gRPC's own servers tell
    /// no reason when they refuse a client's certificate.
    fn explained(&self, error: io::Error) -> io::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof if !self.heard => {
                io::Error::new(error.kind(), CLOSED)
            }
            _ => explained(error),
        }
    }
}

const CLOSED: &str = "TLS: the server closed the connection as soon as it was made: does it ask for a client's certificate, or refuse \
                      this one (tls_certificate and tls_key)?";

const NOT_TLS: &str = ": is this the port of TLS? Leave https:// or grpcs:// out of the address where there is none";

/// What to do about an error; empty if that is not known.
fn help(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError, Error};

    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            ": nobody that is trusted signed its certificate: name its authority with tls_ca"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": its certificate is for another name: give that with tls_name",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            ": if this machine's clock is right, it needs a new certificate"
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            ": is this machine's clock right?"
        }
        // what `openssl req -x509` makes unless it is told otherwise
        Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity" => {
            ": its certificate is that of an authority: let it have one of its own, which that has signed, or set tls_insecure"
        }
        Error::InvalidMessage(_) => NOT_TLS,
        Error::AlertReceived(alert) => help_with_alert(*alert),
        _ => "",
    }
}

/// What to do about what the server says in an alert.
fn help_with_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::NoApplicationProtocol => ": is it the port of another protocol?",
        AlertDescription::UnrecognisedName => ": give a name that it knows with tls_name",
        AlertDescription::ProtocolVersion => ": it has to speak TLS 1.2 or 1.3",
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            ": it refuses the client's certificate: name a valid one of an authority that it trusts with tls_certificate and tls_key"
        }
        _ => ": does it ask for a client's certificate (tls_certificate and tls_key)?",
    }
}

/// The configuration of an address; made once, as files and the system's certificates take long to read.
pub(in crate::protocol) fn config(tls: &Tls, spoken: Spoken) -> Result<Arc<ClientConfig>, Fault> {
    type Made = Mutex<Option<HashMap<(Tls, Spoken), Arc<ClientConfig>>>>;
    static MADE: Made = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    let key = (tls.clone(), spoken);
    if let Some(known) = made.get(&key) {
        return Ok(known.clone());
    }
    let mut config = make(tls).map_err(|words| Fault::new(FaultKind::Connect, words))?;
    config.alpn_protocols = vec![spoken.name().to_vec()];
    let config = Arc::new(config);
    made.insert(key, config.clone());
    Ok(config)
}

fn make(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let words = |error: rustls::Error| error.to_string();
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(words)?;
    let builder = match (&tls.ca, tls.insecure) {
        (_, true) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        (Some(ca), _) => {
            let mut trusted = RootCertStore::empty();
            for certificate in certificates(ca)? {
                trusted.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
            }
            builder.with_root_certificates(trusted)
        }
        (None, _) => builder.with_platform_verifier().map_err(words)?,
    };
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let chain = certificates(chain)?;
            let of_file =
                |error: &dyn std::fmt::Display| format!("{} is no private key in PEM: {error}", key.display());
            let own = PrivateKeyDer::from_pem_file(key).map_err(|error| of_file(&error))?;
            builder.with_client_auth_cert(chain, own).map_err(|error| of_file(&error))
        }
    }
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |cause: &dyn std::fmt::Display| format!("{} has no certificates in PEM: {cause}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    if all.is_empty() { Err(failed(&"it has none")) } else { Ok(all) }
}

/// Takes any certificate, whoever signed it and whatever it is for; signatures of the handshake itself are checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(encrypted) => {
                let before = buffer.filled().len();
                let read = ready!(Pin::new(&mut encrypted.stream).poll_read(context, buffer));
                encrypted.heard |= buffer.filled().len() > before;
                Poll::Ready(match read {
                    Ok(()) if !encrypted.heard && buffer.remaining() > 0 => {
                        Err(encrypted.explained(io::ErrorKind::UnexpectedEof.into()))
                    }
                    read => read.map_err(|error| encrypted.explained(error)),
                })
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(encrypted) => {
                let written = Pin::new(&mut encrypted.stream).poll_write(context, bytes);
                written.map_err(|error| encrypted.refused(context, error))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(encrypted) => {
                let written = Pin::new(&mut encrypted.stream).poll_write_vectored(context, slices);
                written.map_err(|error| encrypted.refused(context, error))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(encrypted) => encrypted.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(encrypted) => {
                let flushed = Pin::new(&mut encrypted.stream).poll_flush(context);
                flushed.map_err(|error| encrypted.refused(context, error))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(encrypted) => Pin::new(&mut encrypted.stream).poll_shutdown(context),
        }
    }
}
