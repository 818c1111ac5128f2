//! `requests.csv` while a run goes on: a block's requests are read from its workers piece by piece and written as they come, so
//! that memory does not grow with their number. Must not know how they are logged.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::record::{self, Micros, RequestRow};
use crate::worker::logged::{LOGGED_MAX, LoggedRequest, PIECE};
use crate::worker::pool::Pool;
use crate::worker::seat::PoolError;

/// Adds the requests of the block that workers have just measured. Returns how many they logged. What is written of a block that
/// cannot be read whole is taken back: such a block does not count.
///
/// # Errors
/// The file cannot be written; the inner error is that of a worker, or the user asked to stop.
pub async fn append(
    path: &Path,
    (case, block): (&str, u32),
    pool: &mut Pool,
    stop: &watch::Receiver<bool>,
) -> Result<Result<u64, PoolError>> {
    let mut rows = Rows::open(path)?;
    let logged = rows.append(case, block, pool, stop).await;
    if !matches!(logged, Ok(Ok(_))) {
        // what cannot be taken back is found when the run is taken up again
        let _ = rows.file.set_len(rows.before);
    }
    logged
}

/// The file, and how long it was.
struct Rows {
    path: PathBuf,
    file: File,
    before: u64,
}

impl Rows {
    fn open(path: &Path) -> Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
        let before = file.metadata().with_context(failed)?.len();
        let mut rows = Rows { path: path.to_owned(), file, before };
        if before == 0 {
            let names = record::lines::<RequestRow>(&[], true)?;
            rows.write(&names)?;
            rows.before = names.len() as u64;
        }
        Ok(rows)
    }

    async fn append(
        &mut self,
        case: &str,
        block: u32,
        pool: &mut Pool,
        stop: &watch::Receiver<bool>,
    ) -> Result<Result<u64, PoolError>> {
        let mut logged = 0;
        for process in 0..pool.processes() {
            let mut from = 0;
            loop {
                let piece = match pool.logged(process, from, stop).await {
                    Ok(piece) => piece,
                    Err(error) => return Ok(Err(error)),
                };
                let rows = (from..).zip(&piece).map(|(number, request)| row(case, block, process, number, request));
                self.write(&record::lines(&rows.collect::<Vec<_>>(), false)?)?;
                from += piece.len() as u64;
                if piece.len() < PIECE || from >= LOGGED_MAX {
                    break;
                }
            }
            logged += from;
        }
        // before the block counts as measured
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(Ok(logged))
    }

    fn write(&mut self, lines: &[u8]) -> Result<()> {
        self.file
            .write_all(lines)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn row(case: &str, block: u32, process: usize, number: u64, request: &LoggedRequest) -> RequestRow {
    RequestRow {
        case: case.to_owned(),
        block,
        process: process as u32,
        request: number,
        due_us: request.due_ns.map(Micros),
        start_us: Micros(request.start_ns),
        sent_us: request.sent_ns.map(Micros),
        head_us: request.head_ns.map(Micros),
        done_us: Micros(request.done_ns),
        status: request.error.map_or("ok", |kind| kind.name()).to_owned(),
        bytes_sent: request.bytes_sent,
        bytes_received: request.bytes_received,
        distinct: request.distinct,
        connection: request.connection,
    }
}

/// Takes out of the file what `is_kept` does not say of a case's tag and a block, and a last line that is torn.
///
/// # Errors
/// The file cannot be read or written, or holds something else.
pub fn prune(path: &Path, is_kept: impl Fn(&String, usize) -> bool) -> Result<()> {
    // the rows of a block stand together
    let mut last: Option<(String, u32, bool)> = None;
    record::retain(path, |row: &RequestRow| {
        if let Some((case, block, kept)) = &last
            && (case, *block) == (&row.case, row.block)
        {
            return *kept;
        }
        let kept = is_kept(&row.case, row.block as usize);
        last = Some((row.case.clone(), row.block, kept));
        kept
    })
}
