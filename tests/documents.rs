//! Which run a report and a document show: reference runs and lesser ones, parts of runs, damaged files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runner::record::{self, MANIFEST, Manifest, RECORDS, Record, State, Status};

/// A committed run, from which others are made.
const COMMITTED: &str = "results/scrfd/2026-11-25T113021Z";
const MARKED: &str = "a\n<!-- BEGIN: runner report scrfd -->\n<!-- END: runner report -->\nb\n";

/// A folder with results and a document.
struct Place(tempfile::TempDir);

impl Place {
    fn new(document: &str) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.document(), document).unwrap();
        place
    }

    fn document(&self) -> PathBuf {
        self.0.path().join("doc.md")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.document()).unwrap()
    }

    /// A full run of a scenario, as `change` alters it.
    fn run(&self, scenario: &str, time: &str, change: impl FnOnce(&mut Manifest, &mut Vec<Record>)) -> PathBuf {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
        let mut manifest = record::read_manifest(&committed).unwrap();
        let mut records = record::read(&committed.join(RECORDS)).unwrap();
        scenario.clone_into(&mut manifest.scenario);
        manifest.overridden.clear();
        manifest.cap_s = None;
        change(&mut manifest, &mut records);
        let folder = self.0.path().join("results").join(scenario).join(time);
        fs::create_dir_all(&folder).unwrap();
        record::write_json(&folder.join(MANIFEST), &manifest).unwrap();
        records.iter().for_each(|row| record::append(&folder.join(RECORDS), row).unwrap());
        folder
    }

    fn full(&self, time: &str) -> PathBuf {
        self.run("scrfd", time, |_, _| {})
    }

    fn report(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        let Output { status, stdout, stderr } =
            command.current_dir(self.0.path()).arg("report").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// Splices the document, and checks that it shows a run's rows.
    fn splice(&self, named: &[&str], shown: &str) -> String {
        let (code, _, words) = self.report(&[&["--splice", "doc.md"][..], named].concat());
        assert_eq!(code, Some(0), "{words}");
        assert!(self.text().contains(&format!("`results/scrfd/{shown}/records.csv`")), "{words}\n{}", self.text());
        words
    }
}

type Change = fn(&mut Manifest, &mut Vec<Record>);

#[test]
fn a_lesser_run_takes_the_place_of_a_reference_run_only_if_it_is_named() {
    let changes: [(&str, Change); 8] = [
        ("it is a quick run", |manifest, _| (manifest.quick, manifest.cap_s) = (true, Some(3.0))),
        ("it is of the embedded server", |manifest, _| manifest.overridden.push("--server embedded".to_owned())),
        ("it lacks 4 of 12 cases", |_, records| records.truncate(8)),
        ("its cases end after 5 s", |manifest, _| manifest.cap_s = Some(5.0)),
        ("it has 10 iterations instead of 1000", |manifest, _| manifest.iterations = 10),
        ("its server is another one (x at this machine instead of triton", |manifest, _| {
            "x".clone_into(&mut manifest.server)
        }),
        ("its server is another one (triton at gpu-box instead of", |manifest, _| {
            (manifest.one_machine, manifest.http) = (false, "gpu-box:8000".to_owned());
        }),
        ("its machine is another one (abacus, 2 cores", |manifest, _| manifest.client.cpu = Some("abacus".to_owned())),
    ];
    for (reason, change) in changes {
        let place = Place::new(MARKED);
        place.full("T1");
        assert!(place.splice(&[], "T1").contains("results/scrfd/T1 is shown"));
        let before = place.text();
        place.run("scrfd", "T2", change);
        let words = place.splice(&[], "T1");
        assert_eq!(place.text(), before);
        let expected = format!("results/scrfd/T1 stays; results/scrfd/T2 is newer, but {reason}");
        assert!(words.contains(&expected) && words.contains("--splice doc.md results/scrfd/T2"), "{reason}: {words}");
        // whoever names it gets it, and it stays until there is a newer one that is no less
        let words = place.splice(&["results/scrfd/T2"], "T2");
        assert!(words.contains("results/scrfd/T2 takes the place of results/scrfd/T1"), "{words}");
        place.splice(&[], "T2");
        assert_eq!(place.splice(&["results/scrfd/T1"], "T1").matches("takes the place").count(), 1);
        place.full("T3");
        assert!(place.splice(&[], "T3").contains("results/scrfd/T3 takes the place of results/scrfd/T1"));
    }
}

#[test]
fn a_part_of_a_run_is_shown_only_if_it_is_named_and_says_so() {
    let place = Place::new(MARKED);
    place.full("T1");
    let interrupted = place.run("scrfd", "T2", |manifest, records| {
        manifest.state = State::Interrupted;
        records.truncate(5);
        records[4].status = Status::Interrupted;
    });
    assert!(place.splice(&[], "T1").contains("results/scrfd/T2 is passed over: it was stopped"));
    let (code, printed, _) = place.report(&[interrupted.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("**Not a whole run:** 4 of 12 cases are measured; the run was stopped."), "{printed}");
    let (_, printed, _) = place.report(&["--section", "parameters", interrupted.to_str().unwrap()]);
    assert!(printed.contains("| Not a Whole Run | 4 of 12"), "{printed}");
    let whole = place.report(&["scrfd"]).1;
    assert!(!whole.contains("whole run") && whole.contains("scrfd/T1/"), "{whole}");
}

#[test]
fn a_torn_last_line_is_left_out_and_said() {
    let place = Place::new(MARKED);
    let path = place.full("T1").join(RECORDS);
    let rows = fs::read(&path).unwrap();
    fs::write(&path, &rows[..rows.len() - 40]).unwrap();
    let (code, printed, words) = place.report(&["scrfd"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(printed.contains("11 of 12 cases are measured; the rows of the others are lost"), "{printed}");
    assert!(printed.contains("The last line of `records.csv` is torn"), "{printed}");
}

#[test]
fn of_several_scenarios_those_that_can_be_are_shown_and_the_others_said() {
    let place = Place::new("<!-- BEGIN: runner report -->\n<!-- END: runner report -->\n");
    place.run("one", "T1", |manifest, _| "One".clone_into(&mut manifest.title));
    place.run("two", "T1", |manifest, _| manifest.state = State::Running);
    fs::create_dir(place.0.path().join("results/notes")).unwrap();
    for arguments in [&["one", "two"][..], &[]] {
        let (code, printed, words) = place.report(arguments);
        assert_eq!(code, Some(1), "{words}");
        assert!(printed.contains("### One") && words.contains("results/two holds no complete run"), "{printed}{words}");
        assert!(!words.contains("notes"), "{words}");
    }
    let (code, _, words) = place.report(&["--splice", "doc.md"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(
        place.text().contains("### One") && words.contains("left out: results/two holds no complete run"),
        "{words}"
    );
    assert_eq!(place.report(&["two"]).0, Some(2));
}

#[test]
fn a_scenario_is_its_newest_full_run_and_newer_lesser_ones_are_said() {
    let place = Place::new(MARKED);
    place.full("T1");
    place.full("T2");
    place.run("scrfd", "T3", |manifest, _| manifest.overridden.push("--server embedded".to_owned()));
    place.run("scrfd", "T4", |manifest, _| manifest.overridden.push("--iterations 10".to_owned()));
    fs::create_dir_all(place.0.path().join("results/scrfd/T5")).unwrap();
    fs::write(place.0.path().join("results/scrfd/T5/run.json"), "{").unwrap();
    let (code, printed, words) = place.report(&["scrfd"]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("results/scrfd/T2/records.csv"), "{printed}");
    assert!(
        words.contains("scrfd/T2 is shown; results/scrfd/T4 is newer, but it was run with --iterations 10"),
        "{words}"
    );
    assert!(words.contains("scrfd/T5 is passed over"), "{words}");
}

#[test]
fn of_lesser_runs_the_least_lesser_is_shown() {
    let place = Place::new(MARKED);
    place.run("scrfd", "T1", |manifest, _| manifest.overridden.push("--server embedded".to_owned()));
    place.run("scrfd", "T2", |manifest, _| {
        manifest.overridden = ["--server embedded", "--quick"].map(str::to_owned).into();
    });
    let (_, printed, words) = place.report(&["scrfd"]);
    assert!(printed.contains("results/scrfd/T1/records.csv"), "{printed}");
    assert!(words.contains("T2 is newer, but it is a quick run, it is of the embedded server"), "{words}");
}

#[test]
fn what_a_document_would_lose_in_silence_is_an_error() {
    let place = Place::new(MARKED);
    let reference = place.full("T1");
    place.run("scrfd", "T2", |manifest, _| (manifest.quick, manifest.cap_s) = (true, Some(3.0)));
    place.splice(&[], "T1");
    let before = place.text();
    let refused = |arguments: &[&str], words: &str| {
        let (code, _, said) = place.report(&[&["--splice", "doc.md"][..], arguments].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(place.text(), before);
    };
    place.run("other", "T1", |_, _| {});
    refused(&["results/other/T1"], "no marker asks for \"other\"");
    fs::remove_dir_all(reference).unwrap();
    refused(
        &[],
        "results/scrfd/T1 is shown and is not there any more; results/scrfd/T2 does not take its place unasked",
    );
    // a marker without names shows all scenarios that there are
    let text = before.replace("report scrfd", "report");
    fs::write(place.document(), &text).unwrap();
    fs::remove_dir_all(place.0.path().join("results/scrfd")).unwrap();
    let (code, _, said) = place.report(&["--splice", "doc.md"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there are no results of its scenario any more"), "{said}");
    assert_eq!(place.text(), text);
}

#[test]
fn markers_that_are_skipped_are_said() {
    let place = Place::new(&format!("```md\n{MARKED}```\n{MARKED}"));
    place.full("T1");
    assert!(place.splice(&[], "T1").contains("doc.md: line 3: a marker in a code block is text"));
    assert_eq!(place.text().matches("### SCRFD Model").count(), 1);
}
