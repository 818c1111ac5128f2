//! The handbook of a run's files matches what the program declares.

use std::fs;

use runner::record::column::{Column, Row};
use runner::record::{BlockRecord, ColdStartRecord, Flag, HostRecord, MetricRow, Record, RequestRow, StageRecord};
use runner::report::comparisons::Comparison;

const HANDBOOK: &str = "docs/FORMAT.md";

fn table(columns: &[Column]) -> String {
    let row = |column: &Column| format!("| `{}` | {} | {} |\n", column.name, column.kind, column.meaning);
    let rows: String = columns.iter().map(row).collect();
    format!("| column | holds | meaning |\n|---|---|---|\n{rows}")
}

fn flags() -> String {
    let rows: String = Flag::ALL
        .iter()
        .map(|(name, flag)| format!("| `{name}` | {} |\n", flag.condition()))
        .collect();
    format!("| flag | raised when |\n|---|---|\n{rows}")
}

/// The text with `content` between two markers.
fn replaced(text: &str, begin: &str, end: &str, content: &str) -> String {
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin}"));
    let (_, after) = rest.split_once(end).unwrap();
    format!("{before}{begin}\n{content}{end}{after}")
}

#[test]
fn the_schemas_are_those_of_the_program() {
    let scenario = serde_json::to_string_pretty(&runner::scenario::json_schema()).unwrap();
    let report = serde_json::to_string_pretty(&runner::report::schema()).unwrap();
    for (path, schema) in [("docs/scenario.schema.json", scenario), ("docs/report.schema.json", report)] {
        let schema = format!("{schema}\n");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(path, &schema).unwrap();
        }
        assert!(
            fs::read_to_string(path).unwrap() == schema,
            "{path} is not what the types say: UPDATE_GOLDEN=1 cargo nextest run --test format"
        );
    }
}

#[test]
fn the_handbook_has_the_columns_and_flags_of_the_program() {
    let before = fs::read_to_string(HANDBOOK).unwrap();
    let mut after = before.clone();
    for (name, columns) in [
        ("records", Record::columns()),
        ("blocks", BlockRecord::columns()),
        ("requests", RequestRow::columns()),
        ("stages", StageRecord::columns()),
        ("cold_starts", ColdStartRecord::columns()),
        ("hosts", HostRecord::columns()),
        ("comparisons", Comparison::columns()),
        ("metrics", MetricRow::columns()),
    ] {
        assert!(columns.iter().all(|column| !column.meaning.is_empty()), "{columns:?}");
        let begin = format!("<!-- BEGIN: columns {name} -->");
        after = replaced(&after, &begin, "<!-- END: columns -->", &table(&columns));
    }
    after = replaced(&after, "<!-- BEGIN: flags -->", "<!-- END: flags -->", &flags());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(HANDBOOK, &after).unwrap();
    }
    assert!(
        after == before,
        "{HANDBOOK} is not what src/record declares: UPDATE_GOLDEN=1 cargo nextest run --test format"
    );
}
