//! Gets one named member out of a published archive: download, verify, unpack.
//! Knows HTTP, hashes and zip; nothing of what the member means. File names in the archive are compared, never used.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::file::Part;
use crate::scenario::Artifact;

/// A larger archive is not the one we want; the limit keeps a wrong URL from filling the disk.
const MAX_ARCHIVE_BYTES: u64 = 4 << 30;
/// The member is held in memory: a guard against archives that inflate without end.
const MAX_MEMBER_BYTES: u64 = 2 << 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence of the server during a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Downloads the archive of `artifact` into a `.part` file in `folder`, verifies it, and returns its member, verified.
///
/// `progress` gets the bytes received and, if the server reports it, the size of the archive. The archive is deleted
/// before this returns, whatever happens. Blocks the thread while it unpacks (seconds).
///
/// # Errors
/// No connection, an HTTP status other than success, a body that ends early, a hash that differs, no such member.
pub async fn member(artifact: &Artifact, folder: &Path, mut progress: impl FnMut(u64, Option<u64>)) -> Result<Vec<u8>> {
    let mut part = Part::create(folder)?;
    download(artifact, &mut part, &mut progress).await?;
    part.file()
        .seek(SeekFrom::Start(0))
        .context("cannot read the downloaded archive again")?;
    unpack(artifact, &mut part, MAX_MEMBER_BYTES).with_context(|| format!("in the archive from {}", artifact.url))
}

/// Streams the archive into `part` and compares its hash.
async fn download(artifact: &Artifact, part: &mut Part, progress: &mut impl FnMut(u64, Option<u64>)) -> Result<()> {
    let url = &artifact.url;
    let mut response =
        client(url)?.get(url).send().await.with_context(|| {
            format!("cannot download {url}: check the network, the proxy settings and [artifact] url")
        })?;
    let status = response.status();
    ensure!(status.is_success(), "{url} answered {status}, expected the archive; correct [artifact] url");
    let total = response.content_length();
    let mut hash = Sha256::new();
    let mut done = 0;
    progress(done, total);
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.with_context(|| format!("the download of {url} broke off after {done} bytes; try again"))?;
        let Some(chunk) = chunk else { break };
        done += chunk.len() as u64;
        ensure!(done <= MAX_ARCHIVE_BYTES, "{url} is over {MAX_ARCHIVE_BYTES} bytes; correct [artifact] url");
        hash.update(&chunk);
        part.write(&chunk)?;
        progress(done, total);
    }
    verify(url, "[artifact] sha256", &artifact.sha256, hash)
}

/// A client that follows redirects, as GitHub's releases need, with TLS by ring.
fn client(url: &str) -> Result<reqwest::Client> {
    // An error means that a provider is already installed, and one is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT);
    // A proxy's loopback is not ours.
    let host = reqwest::Url::parse(url).with_context(|| format!("[artifact] url {url:?} is no URL"))?;
    if matches!(host.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot set up HTTPS")
}

fn verify(what: &str, key: &str, expected: &str, hash: Sha256) -> Result<()> {
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        found.eq_ignore_ascii_case(expected),
        "{what} has sha256 {found}, expected {expected} ({key}): it was damaged on the way or is another version; try \
         again, and if it stays so do not use it"
    );
    Ok(())
}

/// Reads the one member, of at most `limit` bytes, into memory and compares its hash.
fn unpack(artifact: &Artifact, part: &mut Part, limit: u64) -> Result<Vec<u8>> {
    let name = &artifact.member;
    let mut archive = zip::ZipArchive::new(part.file()).context("it is not a zip archive; correct [artifact] url")?;
    let Some(index) = archive.index_for_name(name) else {
        let names: Vec<String> = archive.file_names().flatten().take(20).map(|name| format!("{name:?}")).collect();
        bail!("there is no member {name:?}; it has {}: correct [artifact] member", names.join(", "));
    };
    let file = archive.by_index(index).with_context(|| format!("cannot read member {name:?}"))?;
    ensure!(
        file.size() <= limit,
        "member {name:?} is {} bytes, over the limit of {limit}; correct [artifact] member",
        file.size()
    );
    // The archive's stated size is only a claim, so the read is limited as well.
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot unpack member {name:?}: the archive is damaged"))?;
    ensure!(bytes.len() as u64 <= limit, "member {name:?} is larger than it says; do not use this archive");
    verify(
        &format!("member {name:?}"),
        "[artifact] member_sha256",
        &artifact.member_sha256,
        Sha256::new_with_prefix(&bytes),
    )?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
