//! Reads when requests arrived from a file: instants or distances, or the requests of a recorded run. Must not know what is done with
//! them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Most arrivals of a file, each of which takes 8 bytes of the program and of the worker that sends it, and at most 10 of the message between
/// them.
pub const ARRIVALS_MAX: usize = 2_000_000;

/// Longest time over which a file's arrivals may be spread, in seconds: a week.
const LENGTH_MAX_S: f64 = 604_800.0;

/// Most requests a second, as of a rate.
const RATE_MAX: f64 = 1_000_000.0;

/// The longest line, in bytes.
const LINE_MAX: u64 = 64 * 1024;

/// The columns of a file, by what they hold.
const INSTANTS: &str = "time_s";
const DISTANCES: &str = "interval_s";
const DUE: &str = "due_us";
const STARTED: &str = "start_us";
const CASE: &str = "case";
const BLOCK: &str = "block";

/// Which requests of a recorded run; without a value those of the first row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The case's tag.
    pub case: Option<String>,
    /// The block's number.
    pub block: Option<u64>,
}

/// When requests arrived, in nanoseconds, in order from 0 on.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Each of them.
    pub due_ns: Vec<u64>,
    /// The time over which they are spread: of instants one mean distance more than from first to last.
    pub length_ns: u64,
    /// The part of a recorded run that they are.
    pub part: Part,
}

/// What is wrong, and the remedy.
pub type Problem = (String, String);

/// Reads a file, `speed` times as fast.
///
/// # Errors
/// It cannot be read, or some line is not what it has to be, or there are too few or too many.
pub fn read(path: &Path, part: &Part, speed: f64) -> Result<Arrived, Problem> {
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    parse(BufReader::new(file), part, speed)
}

/// [`read`] of a file's content.
///
/// # Errors
/// As [`read`].
pub fn parse(mut from: impl BufRead, part: &Part, speed: f64) -> Result<Arrived, Problem> {
    let mut columns: Option<Columns> = None;
    let mut read = Vec::new();
    let mut wanted = part.clone();
    let mut others = BTreeSet::new();
    let mut bytes = Vec::new();
    for line in 1_u64.. {
        bytes.clear();
        let taken = (&mut from).take(LINE_MAX + 1).read_until(b'\n', &mut bytes);
        if taken.map_err(|error| unreadable(&error))? == 0 {
            break;
        }
        let row = Row::of(&bytes, line)?;
        let Some(known) = &columns else {
            if !row.is_empty() {
                let (known, is_header) = Columns::of(&row, part)?;
                if !is_header {
                    read.extend(known.value(&row, None, &mut wanted, &mut others)?);
                }
                columns = Some(known);
            }
            continue;
        };
        if !row.is_empty() {
            read.extend(known.value(&row, read.last().copied(), &mut wanted, &mut others)?);
        }
        if read.len() > ARRIVALS_MAX {
            let help = "cut it, or make several scenarios of its parts";
            return Err((format!("has more than {ARRIVALS_MAX} arrivals (line {line})"), help.to_owned()));
        }
    }
    match columns {
        Some(columns) if !read.is_empty() => spread(read, &columns, speed, wanted),
        _ => Err(empty(part, &others)),
    }
}

/// The instants and their length, of what a file says.
fn spread(mut read: Vec<f64>, columns: &Columns, speed: f64, part: Part) -> Result<Arrived, Problem> {
    let count = read.len() as f64;
    let scale = columns.nanoseconds / speed;
    let length = if columns.column == DISTANCES {
        let mut sum = 0.0;
        for value in &mut read {
            sum += *value;
            *value = sum;
        }
        sum * scale
    } else {
        // of several processes; without a sign that differs from another zero's
        read.sort_by(f64::total_cmp);
        let first = read[0];
        read.iter_mut().for_each(|value| *value -= first);
        read[read.len() - 1] * scale * count / (count - 1.0).max(1.0)
    };
    let (seconds, rate) = (length / 1e9, count / (length / 1e9));
    if read.len() < 2 || length <= 0.0 {
        let help = "give at least two, at different times";
        return Err((format!("has {count} arrivals in {seconds} s, of which no rate can be told"), help.to_owned()));
    }
    if !(seconds <= LENGTH_MAX_S && rate <= RATE_MAX) {
        let help =
            format!("give at most {LENGTH_MAX_S} s and {RATE_MAX} requests a second, in seconds; `speed` changes both");
        return Err((format!("has {count} arrivals in {seconds} s"), help));
    }
    let due_ns = read.iter().map(|value| (value * scale).round() as u64).collect();
    Ok(Arrived { due_ns, length_ns: length.round() as u64, part })
}

/// Where the values of a file are.
struct Columns {
    column: &'static str,
    place: usize,
    /// Where the instant is if there is none.
    or: Option<usize>,
    /// Where case and block are.
    part: Option<(usize, usize)>,
    /// Nanoseconds of one.
    nanoseconds: f64,
    /// Whether the lines are in order.
    is_ordered: bool,
}

impl Columns {
    /// One instant a line.
    const PLAIN: Columns =
        Columns { column: INSTANTS, place: 0, or: None, part: None, nanoseconds: 1e9, is_ordered: true };

    /// The columns that the first line names, or those of plain numbers; and whether it names any.
    fn of(row: &Row<'_>, part: &Part) -> Result<(Columns, bool), Problem> {
        let place = |name: &str| row.cells.iter().position(|cell| *cell == name);
        let (due, started) = (place(DUE), place(STARTED));
        let (columns, is_header) = if let Some(place) = place(INSTANTS) {
            (Columns { place, ..Columns::PLAIN }, true)
        } else if let Some(place) = place(DISTANCES) {
            (Columns { column: DISTANCES, place, is_ordered: false, ..Columns::PLAIN }, true)
        } else if let (Some(place), Some(case), Some(block)) = (due.or(started), place(CASE), place(BLOCK)) {
            let (or, part) = (started, Some((case, block)));
            return Ok((Columns { column: DUE, place, or, part, nanoseconds: 1e3, is_ordered: false }, true));
        } else if row.cells.len() == 1 && row.cells[0].parse::<f64>().is_ok() {
            (Columns::PLAIN, false)
        } else {
            let help = "begin with a line that names the column time_s or interval_s, have a number of seconds in each line, or take \
                        the requests.csv of a run (case, block, due_us, start_us)";
            let problem = format!(
                "has {} in line {}, which names no column that tells when requests arrived",
                shown(&row.cells.join(",")),
                row.line
            );
            return Err((problem, help.to_owned()));
        };
        if *part != Part::default() {
            let help = "leave case and block out: they choose from the requests.csv of a run";
            return Err(("has no columns case and block".to_owned(), help.to_owned()));
        }
        Ok((columns, is_header))
    }

    /// The value of a row, if it is of the wanted part, which the first row completes.
    fn value(
        &self,
        row: &Row<'_>,
        before: Option<f64>,
        wanted: &mut Part,
        others: &mut BTreeSet<String>,
    ) -> Result<Option<f64>, Problem> {
        let line = row.line;
        if let Some((case, block)) = self.part {
            let (case, block) = (row.cell(case), row.cell(block));
            let Ok(number) = block.parse::<u64>() else {
                let problem = format!("has {} in line {line}, expected the number of a block", shown(block));
                return Err((problem, "take the file as a run wrote it".to_owned()));
            };
            let is_other = wanted.case.as_deref().is_some_and(|wanted| wanted != case);
            if is_other || wanted.block.is_some_and(|wanted| wanted != number) {
                // enough to choose from
                if others.len() < 5 {
                    others.insert(format!("{} block {number}", shown(case)));
                }
                return Ok(None);
            }
            *wanted = Part { case: Some(case.to_owned()), block: Some(number) };
        }
        let cell = match (row.cell(self.place), self.or) {
            ("", Some(or)) => row.cell(or),
            (cell, _) => cell,
        };
        let Some(value) = cell.parse::<f64>().ok().filter(|value| value.is_finite()) else {
            let what = if self.part.is_some() { "microseconds" } else { "seconds" };
            let problem = format!("has {} in line {line}, expected a number of {what}", shown(cell));
            return Err((problem, "correct it, or take the line out".to_owned()));
        };
        if value < 0.0 {
            let problem = format!("has {} in line {line}, which is negative", shown(cell));
            return Err((problem, "correct it: times begin at 0 or later, and no distance is negative".to_owned()));
        }
        if self.is_ordered && before.is_some_and(|before| value < before) {
            let help = "sort the lines; if they are the distances from one request to the next, begin the file with the line \
                        interval_s";
            let problem = format!("has {} in line {line}, which is less than in the line before", shown(cell));
            return Err((problem, help.to_owned()));
        }
        Ok(Some(value))
    }
}

/// A line's values. None is taken for one of several lines, however it is quoted: it could be of any length.
struct Row<'a> {
    cells: Vec<&'a str>,
    line: u64,
}

impl<'a> Row<'a> {
    fn of(bytes: &'a [u8], line: u64) -> Result<Self, Problem> {
        if bytes.len() as u64 > LINE_MAX {
            let help = "give a file of lines with a number of seconds each";
            return Err((format!("has more than {LINE_MAX} bytes in line {line}"), help.to_owned()));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err((format!("has bytes in line {line} that are no text"), "save the file as UTF-8".to_owned()));
        };
        let text = text.trim_start_matches('\u{FEFF}');
        let cells = text.split(',').map(|cell| cell.trim().trim_matches('"').trim()).collect();
        Ok(Row { cells, line })
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.is_empty())
    }

    fn cell(&self, place: usize) -> &'a str {
        self.cells.get(place).copied().unwrap_or_default()
    }
}

/// What a file says, cut and without control characters.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    format!("{cut:?}")
}

fn empty(part: &Part, others: &BTreeSet<String>) -> Problem {
    let list = others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match part {
        _ if others.is_empty() => {
            ("has no arrivals".to_owned(), "give a number of seconds in each line, at least two".to_owned())
        }
        Part { case, block } => {
            let case = case.as_deref().map_or(String::new(), |case| format!(" of the case {}", shown(case)));
            let block = block.map_or(String::new(), |block| format!(" of block {block}"));
            (format!("has no requests{case}{block}"), format!("it has, among others, {list}"))
        }
    }
}

fn unreadable(error: &io::Error) -> Problem {
    (format!("cannot be read: {error}"), "check its permissions".to_owned())
}

#[cfg(test)]
#[path = "arrival_file_tests.rs"]
mod tests;
