//! Reads facts about this machine's Docker engine through its client; nothing without an engine.

use crate::process;

/// Version of the engine.
pub(super) async fn version() -> Option<String> {
    line(&["docker", "version", "--format", "{{.Server.Version}}"]).await
}

/// Image of the container that publishes this port.
pub(super) async fn image(port: Option<u16>) -> Option<String> {
    let publish = format!("publish={}", port?);
    line(&["docker", "ps", "--filter", &publish, "--format", "{{.Image}}"]).await
}

/// The first line that a command prints.
async fn line(command: &[&str]) -> Option<String> {
    let printed = process::output(command).await?;
    let line = printed.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.to_owned())
}
