//! The tables of docs/FAULTS.md: each test compares its own line, or writes it with `UPDATE_GOLDEN=1`.

use std::fs::{self, File};
use std::path::PathBuf;

use runner::record::Record;

/// The faults in the page's order.
const ORDER: &[(&str, &[&str])] = &[
    (
        "connections",
        &[
            "refused",
            "restart",
            "reset",
            "closed",
            "truncated",
            "half-closed",
            "stalled",
            "dripping",
            "dripping in time",
            "end in order",
            "GOAWAY",
            "RST_STREAM",
            "through TLS",
            "made again",
        ],
    ),
    (
        "answers",
        &[
            "malformed",
            "bytes of another protocol",
            "oversized",
            "wrong name",
            "wrong type",
            "wrong shape",
            "wrong size",
            "error",
            "overload",
            "page of a proxy",
            "status 3xx",
            "status 4xx",
            "status 404",
            "status 429",
            "status 5xx",
            "status 504",
            "gRPC codes",
        ],
    ),
    ("reaching", &["nobody listens", "no such name", "other port", "TLS to a plain port", "plain to a TLS port"]),
    ("limits", &["on_error", "max_error_share", "several kinds"]),
    ("workers", &["killed", "out of memory", "hung", "stopped", "silent", "garbage", "parent killed"]),
    ("hosts", &["lost", "mute", "unreachable", "not there", "another version", "another token"]),
    ("disk", &["full", "too large", "read-only", "vanished", "name taken"]),
];

/// One line of a table: a fault, how it comes about, what is told, and the test that holds it.
pub struct Line<'a> {
    /// Its place in [`ORDER`].
    pub key: (&'static str, &'static str),
    pub fault: &'a str,
    pub by: &'a str,
    /// What is told, one cell a protocol or one for both.
    pub told: Vec<String>,
    pub test: &'a str,
}

/// What a row says, without what differs between runs.
pub fn words(row: &Record) -> String {
    let kinds: Vec<String> = row
        .error_kinds
        .to_string()
        .split(' ')
        .filter_map(|count| count.split_once('='))
        .map(|(kind, _)| format!("`{kind}`"))
        .collect();
    let status = format!("`{}`", row.status.name());
    let parts = [vec![status], kinds].concat().join(", ");
    match row.reason.is_empty() {
        true => format!("{parts}, no error"),
        false => format!("{parts}: {}", quoted(&row.reason)),
    }
}

/// Words of the program as a quotation: addresses and folders stand for any.
pub fn quoted(words: &str) -> String {
    let words = words
        .split(' ')
        .map(|word| match word.split_once("127.0.0.1:") {
            Some((before, rest)) => {
                let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
                format!("{before}HOST:PORT{after}")
            }
            None => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ");
    format!("“{}”", words.replace('|', "\\|").replace('<', "\\<").replace('_', "\\_").replace('*', "\\*"))
}

/// Compares a line with that of the page.
pub fn tell(line: &Line<'_>) {
    // words of the system are in it
    if !cfg!(target_os = "linux") {
        return;
    }
    let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/FAULTS.md"));
    let (group, name) = line.key;
    let (_, names) = ORDER.iter().find(|(key, _)| *key == group).unwrap();
    let place = |key: &str| names.iter().position(|name| *name == key);
    assert!(place(name).is_some(), "{name}: not in ORDER");
    let mark = |name: &str| format!("<!-- {name} -->");
    let made = format!("| {} {} | {} | {} | `{}` |", line.fault, mark(name), line.by, line.told.join(" | "), line.test);
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    // tests run at the same time, and each writes its line
    let lock = File::create(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults.lock")).unwrap();
    if update {
        lock.lock().unwrap();
    }
    let text = fs::read_to_string(&page).unwrap();
    let (begin, end) = (format!("<!-- BEGIN: faults {group} -->\n"), format!("<!-- END: faults {group} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{begin}"));
    let (table, after) = rest.split_once(&end).unwrap();
    let (head, lines): (Vec<&str>, Vec<&str>) = table.lines().partition(|line| !line.contains("<!-- "));
    let found = lines.iter().find(|line| line.contains(&mark(name)));
    if !update {
        assert_eq!(
            found.copied(),
            Some(made.as_str()),
            "docs/FAULTS.md: UPDATE_GOLDEN=1 cargo nextest run --test faults"
        );
        return;
    }
    let mut lines: Vec<String> = lines
        .into_iter()
        .map(str::to_owned)
        .filter(|line| !line.contains(&mark(name)))
        .collect();
    lines.push(made);
    let key = |line: &String| {
        line.split_once("<!-- ")
            .and_then(|(_, rest)| rest.split_once(" -->"))
            .unwrap()
            .0
            .to_owned()
    };
    lines.retain(|line| place(&key(line)).is_some());
    lines.sort_by_key(|line| place(&key(line)));
    let table = [head.into_iter().map(str::to_owned).collect(), lines].concat().join("\n");
    fs::write(&page, format!("{before}{begin}{table}\n{end}{after}")).unwrap();
}

#[test]
fn every_line_of_the_page_names_a_test_that_there_is() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/FAULTS.md")).unwrap();
    let mut code = String::new();
    for folder in ["tests/faults", "tests/runs", "src/worker", "src/process.rs"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = if path.is_dir() {
            fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect()
        } else {
            vec![path]
        };
        code.extend(files.iter().map(|file| fs::read_to_string(file).unwrap()));
    }
    let mut lines = 0;
    for (_, names) in ORDER {
        for name in *names {
            let found: Vec<&str> = page.lines().filter(|line| line.contains(&format!("<!-- {name} -->"))).collect();
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            let test = found[0].rsplit('`').nth(1).unwrap();
            assert!(code.contains(&format!("fn {test}(")), "{name}: no test {test}");
            lines += 1;
        }
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("| ") && line.contains("<!-- ")).count(), lines);
}
