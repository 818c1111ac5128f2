//! Ctrl-C, SIGTERM and SIGHUP: the first ends current work in order, the second ends the program at once.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

use crate::report::terminal::{end_screen, say};

/// Why a case was not measured, or only in part, after Ctrl-C.
pub const STOPPED: &str = "the run was stopped by the user";

/// The shell's exit code for the signal that stopped the run; that of Ctrl-C before there is one.
static CODE: AtomicU8 = AtomicU8::new(130);

/// The shell's exit code for the signal that stopped the run.
pub fn exit_code() -> u8 {
    CODE.load(Ordering::Relaxed)
}

/// Becomes true at the first signal; the second ends the program at once.
pub fn stop_on_signals() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let mut signals = Signals::listen();
    tokio::spawn(async move {
        CODE.store(signals.next().await, Ordering::Relaxed);
        say("stopping: what is measured is kept; press Ctrl-C again to end at once");
        let _ = sender.send(true);
        let code = signals.next().await;
        end_screen();
        std::process::exit(i32::from(code));
    });
    receiver
}

/// The signals that stop a run.
#[cfg(unix)]
pub struct Signals(Vec<(u8, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    pub fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};

        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let ignored = ignored();
        // what nohup ignores stays ignored
        let kinds = kinds.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        let stream = |kind: SignalKind| Some((128 + kind.as_raw_value() as u8, signal(kind).ok()?));
        Signals(kinds.filter_map(stream).collect())
    }

    /// The shell's exit code for the next one.
    pub async fn next(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            let came = self.0.iter_mut().find_map(|(code, signal)| match signal.poll_recv(context) {
                std::task::Poll::Ready(Some(())) => Some(*code),
                _ => None,
            });
            came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}

/// The signals that whoever started this process has it ignore, a bit each from signal 1; none where the system does not tell.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens from now on.
    pub fn listen() -> Self {
        Signals
    }

    pub async fn next(&mut self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 130,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Returns when the user asks to stop.
pub async fn stopped(stop: &watch::Receiver<bool>) {
    let mut stop = stop.clone();
    if stop.wait_for(|stop| *stop).await.is_err() {
        // nobody can ask any more
        std::future::pending::<()>().await;
    }
}
