//! Terminal output: the plan, a progress bar with an ETA, finished cases, the answers and tables. The only way to
//! standard output and standard error, either of which may be closed or full.

mod page;
mod plan;
mod progress;
mod prose;
mod screen;
mod summary;

use std::io::{ErrorKind, IsTerminal, Stderr, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use indicatif::ProgressDrawTarget;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show as Shown};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};

pub use plan::{ceiling, plan, plans_json, verified, verified_json};
pub use progress::{Download, Progress, Show};
pub use screen::{SoFar, bars};
pub use summary::{document, report, run};

use crate::text;

/// The reader of standard output has left, as `head` does: not a fault, but there is nothing more to print.
#[derive(Debug)]
pub struct ReaderGone;

impl std::error::Error for ReaderGone {}

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("standard output is closed")
    }
}

/// Prints a line on standard error, where it does not mix with results. Ignores failures: nobody could be told, and a
/// measurement goes on.
pub fn say(line: &str) {
    if let Some(screen) = live().as_mut() {
        return screen.messages.push(text::lines(line));
    }
    let _ = writeln!(std::io::stderr().lock(), "{}", fitted(line));
}

/// The live screen that takes all of standard error, while there is one.
static LIVE: Mutex<Option<Live>> = Mutex::new(None);

/// What is kept while a live screen is shown.
struct Live {
    /// What is said meanwhile.
    messages: Vec<String>,
    /// The terminal's mode before.
    #[cfg(unix)]
    mode: Option<nix::sys::termios::Termios>,
}

fn live() -> MutexGuard<'static, Option<Live>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a live screen: an alternate one, without cursor and echo.
fn begin_screen() -> Result<CrosstermBackend<Stderr>> {
    let mut errors = std::io::stderr();
    execute!(errors, EnterAlternateScreen, Hide)?;
    let mut screen = live();
    *screen = Some(Live {
        messages: Vec::new(),
        #[cfg(unix)]
        mode: without_echo(),
    });
    Ok(CrosstermBackend::new(errors))
}

/// What has been said since the live screen began.
fn said() -> Vec<String> {
    live().as_ref().map(|screen| screen.messages.clone()).unwrap_or_default()
}

/// Ends the live screen, if there is one, and says what was said meanwhile. The terminal is as before.
pub fn end_screen() {
    let Some(screen) = live().take() else { return };
    let _ = execute!(std::io::stderr(), LeaveAlternateScreen, Shown);
    #[cfg(unix)]
    if let Some(mode) = screen.mode {
        let _ = nix::sys::termios::tcsetattr(std::io::stdin(), nix::sys::termios::SetArg::TCSANOW, &mode);
    }
    screen.messages.iter().for_each(|line| say(line));
}

/// Stops what is typed from being shown; returns the mode before.
#[cfg(unix)]
fn without_echo() -> Option<nix::sys::termios::Termios> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

    let before = tcgetattr(std::io::stdin()).ok()?;
    let mut mode = before.clone();
    mode.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(std::io::stdin(), SetArg::TCSANOW, &mode).ok()?;
    Some(before)
}

/// Text for standard error: broken between words where a terminal would break within them.
fn fitted(text: &str) -> String {
    let text = text::lines(text);
    match console::Term::stderr().size_checked() {
        Some((_, columns)) if is_watched() && columns >= 20 => {
            let options = textwrap::Options::new(usize::from(columns)).subsequent_indent("  ").break_words(false);
            textwrap::fill(&text, options)
        }
        _ => text,
    }
}

/// Prints text on standard output.
///
/// # Errors
/// [`ReaderGone`], or it cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    write(&text::lines(text))
}

/// Writes text without anything from outside that was not made fit before, such as colours around it.
fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe || is_terminal_gone(&error) => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// Whether standard output was a terminal that is closed: for a file the same error means a broken disk.
#[cfg(unix)]
fn is_terminal_gone(error: &std::io::Error) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    const EIO: i32 = 5;
    let file = std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let device = file
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.file_type().is_char_device());
    error.raw_os_error() == Some(EIO) && device
}

#[cfg(not(unix))]
fn is_terminal_gone(_: &std::io::Error) -> bool {
    false
}

/// Asks a yes-or-no question; only a clear yes counts.
///
/// # Errors
/// Nobody can answer.
pub fn ask(question: &str) -> Result<bool> {
    let Some(answer) = ask_for(question)? else {
        bail!("nobody can be asked here: give --accept-license to accept it");
    };
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a line of text; `None` if nobody can answer.
///
/// # Errors
/// The answer cannot be read.
pub fn ask_for(question: &str) -> Result<Option<String>> {
    let question = text::lines(question);
    if !std::io::stdin().is_terminal() || write!(std::io::stderr().lock(), "{question}").is_err() {
        return Ok(None);
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer)?;
    Ok((read > 0).then(|| answer.trim().to_owned()))
}

/// Whether somebody may watch standard error.
fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Standard error, if it is a terminal.
fn draw_target() -> ProgressDrawTarget {
    if is_watched() {
        ProgressDrawTarget::stderr_with_hz(1)
    } else {
        ProgressDrawTarget::hidden()
    }
}
