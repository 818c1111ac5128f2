//! Rows as CSV: cells that no spreadsheet takes for formulas, and a last line that was torn by a crash. Must not know
//! which columns exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use csv::{ByteRecord, ReaderBuilder, StringRecord, WriterBuilder};

use super::column::{Cells, Row};
use crate::file::Part;

/// Marks text that a spreadsheet would take for a formula. Reading removes it.
const NEUTRAL: u8 = b'\'';

/// The rows of a file.
pub struct Rows<T> {
    /// All rows that are whole.
    pub rows: Vec<T>,
    /// Whether a crash or a full disk tore the last line. It is not in `rows`.
    pub torn: bool,
}

/// Adds a row to a CSV file and waits until it is on disk; a new file begins with the names of the columns.
///
/// # Errors
/// The file cannot be written.
pub fn append<T: Row>(path: &Path, row: &T) -> Result<()> {
    append_all(path, std::slice::from_ref(row))
}

/// Adds rows to a CSV file as [`append`] does, together.
///
/// # Errors
/// The file cannot be written.
pub fn append_all<T: Row>(path: &Path, rows: &[T]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
    let empty = file.metadata().with_context(failed)?.len() == 0;
    let bytes = lines(rows, empty).with_context(failed)?;
    // one write, so that rows appear whole or not at all
    file.write_all(&bytes).and_then(|()| file.sync_data()).with_context(failed)
}

/// Rows as the lines of a file, after the names of the columns if it begins with them.
///
/// # Errors
/// None known.
pub fn lines<T: Row>(rows: &[T], with_names: bool) -> Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    if with_names {
        writer.write_record(T::columns().iter().map(|column| column.name))?;
    }
    for row in rows {
        writer.write_record(row.cells().iter().map(|cell| defused(cell.as_bytes())))?;
    }
    Ok(writer.into_inner()?)
}

/// Reads all rows of a CSV file.
///
/// # Errors
/// The file cannot be read, or a row is not of this program's format or torn; the message names the file and the line.
pub fn read<T: Row>(path: &Path) -> Result<Vec<T>> {
    let Rows { rows, torn } = read_whole_rows(path)?;
    ensure!(!torn, "{}: the last line is torn", path.display());
    Ok(rows)
}

/// Reads the rows of a CSV file that are whole.
///
/// # Errors
/// As [`read`], but a torn last line is not an error.
pub fn read_whole_rows<T: Row>(path: &Path) -> Result<Rows<T>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes).with_context(|| format!("{} is not a file of this program's format", path.display()))
}

/// The same; none if there is no such file.
///
/// # Errors
/// As [`read_whole_rows`].
pub fn read_if_any<T: Row>(path: &Path) -> Result<Rows<T>> {
    match path.exists() {
        true => read_whole_rows(path),
        false => Ok(Rows { rows: Vec::new(), torn: false }),
    }
}

/// The rows of a CSV file's content that are whole.
///
/// # Errors
/// A row is not of this program's format; the message names the line.
pub fn parse<T: Row>(bytes: &[u8]) -> Result<Rows<T>> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let head = reader.byte_headers()?.clone();
    let places = places(&head);
    let mut records = reader.byte_records().collect::<Result<Vec<ByteRecord>, _>>()?;
    // rows are appended with a line ending; a last row without it may be cut anywhere, even within a number
    let cut = records.last().is_some_and(|last| last.len() < head.len());
    let torn = !bytes.is_empty() && (cut || !bytes.ends_with(b"\n"));
    if torn {
        records.pop();
    }
    Ok(Rows {
        rows: records.iter().map(|record| row(record, &head, &places)).collect::<Result<_>>()?,
        torn,
    })
}

/// The row of a record below this head, whose columns have these places.
fn row<T: Row>(record: &ByteRecord, head: &ByteRecord, places: &HashMap<String, usize>) -> Result<T> {
    let line = record.position().map_or(0, csv::Position::line);
    let (found, expected) = (record.len(), head.len());
    ensure!(found == expected, "line {line}: {found} cells, expected {expected}");
    let record: ByteRecord = record.iter().map(as_written).collect();
    let record = StringRecord::from_byte_record(record).with_context(|| format!("line {line}"))?;
    T::read(&Cells::new(places, &record)).map_err(|words| anyhow!("line {line}: {words}"))
}

/// Rewrites a CSV file with those of its rows that are kept, one after the other: memory does not grow with their number. A last
/// line that is torn is left out.
///
/// # Errors
/// The file cannot be read or written, or a row is not of this program's format.
pub fn retain<T: Row>(path: &Path, mut is_kept: impl FnMut(&T) -> bool) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = whole_lines(&mut file).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(file.take(whole));
    let directory = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    let mut part = Part::create(directory)?;
    let rewritten = (|| -> Result<()> {
        let head = reader.byte_headers()?.clone();
        let places = places(&head);
        let mut writer = WriterBuilder::new().from_writer(part.file());
        if !head.is_empty() {
            writer.write_byte_record(&head)?;
        }
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record)? {
            if is_kept(&row(&record, &head, &places)?) {
                writer.write_byte_record(&record)?;
            }
        }
        Ok(writer.flush()?)
    })();
    rewritten.with_context(|| format!("{} cannot be rewritten", path.display()))?;
    part.commit(path)
}

/// The length of a file up to its last line ending, at which it is left again at its start.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut whole = 0;
    while end > 0 && whole == 0 {
        let start = end.saturating_sub(64 * 1024);
        let mut bytes = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| start + place as u64 + 1);
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(whole)
}

/// The columns' places by their names.
fn places(head: &ByteRecord) -> HashMap<String, usize> {
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    head.iter().map(name).zip(0..).collect()
}

/// Makes a cell safe: puts [`NEUTRAL`] before text that a spreadsheet would execute, or that reading would take for
/// text marked so. Numbers stay as they are.
fn defused(cell: &[u8]) -> Cow<'_, [u8]> {
    let number = std::str::from_utf8(cell).is_ok_and(|text| text.parse::<f64>().is_ok());
    if is_formula(cell) && !number {
        Cow::Owned([&[NEUTRAL], cell].concat())
    } else {
        Cow::Borrowed(cell)
    }
}

fn as_written(cell: &[u8]) -> &[u8] {
    cell.strip_prefix(&[NEUTRAL]).filter(|rest| is_formula(rest)).unwrap_or(cell)
}

/// Whether a cell begins a formula in some spreadsheet, after any number of [`NEUTRAL`]; also in full-width `=+-@`.
fn is_formula(cell: &[u8]) -> bool {
    let ticks = cell.iter().take_while(|byte| **byte == NEUTRAL).count();
    let rest = &cell[ticks..];
    matches!(rest.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n'))
        || ["＝", "＋", "－", "＠"].iter().any(|sign| rest.starts_with(sign.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::column::columns;
    use proptest::prelude::*;

    columns! {
        pub struct Sample {
            pub server: String,
            pub mean_ms: Option<f64>,
        }
    }

    fn row(server: &str, mean_ms: Option<f64>) -> Sample {
        Sample { server: server.to_owned(), mean_ms }
    }

    fn written(rows: &[Sample]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        rows.iter().for_each(|row| append(&path, row).unwrap());
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_text_is_no_formula_and_a_number_stays_one() {
        let rows = [
            row("=HYPERLINK(\"http://x\",\"y\")", Some(-0.25)),
            row("@a", Some(1.0)),
            row("-1+cmd|'/C calc'!A0", None),
            row("\tx", None),
            row("＝1", None),
            row("-7", None),
            row("a=b", None),
        ];
        let text = written(&rows);
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",-0.25",
            "'@a,1.0",
            "'-1+cmd|'/C calc'!A0,",
            "'\tx,",
            "'＝1,",
            "-7,",
            "a=b,",
        ];
        assert_eq!(lines[1..], expected);
        assert_eq!(parse::<Sample>(text.as_bytes()).unwrap().rows, rows);
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_is_cut() {
        let rows = [row("triton, \"x\"", Some(1.5)), row("two\nlines", Some(22.75))];
        let text = written(&rows);
        let first = written(&rows[..1]).len();
        for end in first..text.len() {
            let read = parse::<Sample>(&text.as_bytes()[..end]).unwrap();
            assert_eq!((read.rows.as_slice(), read.torn), (&rows[..1], end > first), "{:?}", &text[..end]);
        }
        assert!(!parse::<Sample>(text.as_bytes()).unwrap().torn);
        // a crash may leave zeros
        assert!(parse::<Sample>(&[text.as_bytes(), &[0; 100]].concat()).unwrap().torn);
        let head = parse::<Sample>(&text.as_bytes()[..5]).unwrap();
        assert_eq!((head.rows.len(), head.torn), (0, true));
    }

    #[test]
    fn rows_are_taken_out_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let rows = [row("=a, \"b\"", Some(1.5)), row("two\nlines", None), row("c", Some(3.0))];
        let text = written(&rows);
        let kept = |text: &[u8], is_kept: &dyn Fn(&Sample) -> bool| {
            std::fs::write(&path, text).unwrap();
            retain(&path, is_kept).map(|()| read::<Sample>(&path).unwrap())
        };
        let is_number = |row: &Sample| row.mean_ms.is_some();
        assert_eq!(kept(text.as_bytes(), &is_number).unwrap(), [rows[0].clone(), rows[2].clone()]);
        assert_eq!(kept(&text.as_bytes()[..text.len() - 1], &is_number).unwrap(), [rows[0].clone()]);
        assert_eq!(kept(text.as_bytes(), &|_| true).unwrap(), rows);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        // a crash may leave zeros, or a file without any line
        assert_eq!(kept(&[text.as_bytes(), &[0; 100_000]].concat(), &|_| true).unwrap(), rows);
        assert_eq!(kept(b"server,me", &|_| true).unwrap(), []);
        let error = kept(b"server,mean_ms\na,x\nb,1\n", &|_| true).unwrap_err();
        assert!(format!("{error:#}").contains("rows.csv cannot be rewritten: line 2: "), "{error:#}");
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_with_its_number() {
        let error = |text: &str| format!("{:#}", parse::<Sample>(text.as_bytes()).err().unwrap());
        assert_eq!(error("server,mean_ms\na\nb,1\n"), "line 2: 1 cells, expected 2");
        assert!(error("server,mean_ms\na,x\nb,1\n").starts_with("line 2: "));
    }

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_an_error(bytes in "server,mean_ms\n[ab,\"'=\n\r0-9.é]{0,40}") {
            let _ = parse::<Sample>(bytes.as_bytes());
            let _ = parse::<Sample>(&bytes.as_bytes()[bytes.len() / 2..]);
        }

        #[test]
        fn rows_survive_the_file(texts in proptest::collection::vec("['=+@\\-\t\r\na1,\"]{0,6}", 1..5)) {
            let rows: Vec<Sample> = texts.iter().map(|text| row(text, Some(-1.5))).collect();
            let text = written(&rows);
            prop_assert_eq!(&parse::<Sample>(text.as_bytes()).unwrap().rows, &rows);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            for record in reader.records() {
                let record = record.unwrap();
                let number = record[0].parse::<f64>().is_ok();
                prop_assert!(number || !record[0].starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{:?}", record);
            }
        }
    }
}
