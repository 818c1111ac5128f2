//! Ctrl-C: the first ends current work in order, the second ends the program at once.

use tokio::sync::watch;

use crate::report::terminal::{end_screen, say};

/// Why a case was not measured, or only in part, after Ctrl-C.
pub const STOPPED: &str = "the run was stopped by the user";

/// Becomes true at the first Ctrl-C; the second ends the program at once.
pub fn stop_on_ctrl_c() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            say("stopping: what is measured is kept; press Ctrl-C again to end at once");
            let _ = sender.send(true);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            end_screen();
            std::process::exit(130);
        }
        // keep the sender: the receiver must not see it dropped
        std::future::pending::<()>().await;
    });
    receiver
}

/// Returns when the user asks to stop.
pub async fn stopped(stop: &watch::Receiver<bool>) {
    let mut stop = stop.clone();
    if stop.wait_for(|stop| *stop).await.is_err() {
        // nobody can ask any more
        std::future::pending::<()>().await;
    }
}
