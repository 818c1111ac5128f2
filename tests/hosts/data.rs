//! Data files that hosts have, and those that they are sent.

use std::fs;

use runner::record::{Status, read_manifest};

use crate::case::{SCENARIO, text};
use crate::machines::{Lab, PROGRAM, all_end, wait_for, write_program};

/// 32-bit floats of a row: three rows take several of the pieces in which files are sent.
const COLUMNS: usize = 200_000;

/// Rows of floats, each different from the others.
fn npy() -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (3, {COLUMNS}), }}").into_bytes();
    header.resize(117, b' ');
    header.push(b'\n');
    let values = (0..3 * COLUMNS).flat_map(|place| (place as f32).to_le_bytes());
    [b"\x93NUMPY\x01\0\x76\0", &header[..]].concat().into_iter().chain(values).collect()
}

/// Sends the rows of a file, and expects the same back.
fn lab(lines: &str) -> Lab {
    let scenario = SCENARIO
        .replace("shape = [3]", &format!("shape = [{COLUMNS}]\ndata = {{file = \"rows.npy\"}}"))
        .replace("name = \"y\"\n", "name = \"y\"\nexpect = {file = \"again.npy\"}\n")
        .replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "processes = [2]")
        .replace(
            "iterations = 50\n    warmup = 3",
            "iterations = 9\n    warmup = 1\n    blocks = 2\n    verify_every = 1",
        );
    let lab = Lab::new("", &scenario, &["one", "two"], lines);
    let config = fs::read_to_string(lab.case.path("models/echo/config.pbtxt")).unwrap();
    fs::write(lab.case.path("models/echo/config.pbtxt"), config.replace("[ 3 ]", "[ -1 ]")).unwrap();
    ["rows.npy", "again.npy"]
        .iter()
        .for_each(|name| fs::write(lab.case.path(name), npy()).unwrap());
    lab
}

fn all_are_verified(lab: &Lab) {
    let output = lab.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
    for row in lab.case.records() {
        assert_eq!((row.status, row.requests), (Status::Ok, 18), "{row:?}");
        assert_eq!((row.distinct_requests, row.answers_verified), (Some(3), Some(18)), "{row:?}");
    }
    assert_eq!(lab.host_rows().len(), 4);
    let data = read_manifest(&lab.case.newest().unwrap()).unwrap().data;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["again.npy", "rows.npy"]);
}

#[test]
fn files_of_a_disk_that_hosts_share_are_read_where_they_are() {
    let lab = lab("");
    // where they would be kept if they were sent
    lab.ssh("TMPDIR=/no/such/folder; export TMPDIR");
    all_are_verified(&lab);
}

/// On a host that does not find the leader's files: a program between that changes the paths in the leader's question.
#[test]
fn files_that_a_host_lacks_are_sent_and_gone_afterwards() {
    let lab = lab("program = \"./elsewhere\"");
    let kept = lab.case.path("kept");
    fs::create_dir(&kept).unwrap();
    let script = format!(
        "#!/bin/sh\nmkfifo in-$$\nexec 3<&0\n\
         {{ sed -u '/\"look\":/{{s|\"path\":\"|&/no/such/folder|g;q}}'; tee heard-$host; }} <&3 >in-$$ 2>/dev/null &\n\
         TMPDIR='{}'; export TMPDIR; exec {PROGRAM} \"$@\" <in-$$ 3<&-\n",
        kept.display()
    );
    write_program(&lab.case.path("elsewhere"), &script);
    lab.ssh(&format!("export host; cd '{}'", lab.case.path("").display()));
    all_are_verified(&lab);
    for host in ["one", "two"] {
        let heard = fs::read_to_string(lab.case.path(&format!("heard-{host}"))).unwrap();
        assert!(heard.matches("{\"keep\":").count() >= 3, "{host}: nothing was sent");
    }
    all_end(&[lab.started("one"), lab.started("two")].concat());
    let is_empty = || fs::read_dir(&kept).unwrap().next().is_none();
    assert!(is_empty(), "files stay");

    // another file than the one that answers are compared with
    let mut other = npy();
    let last = other.len() - 1;
    other[last] ^= 1;
    fs::write(lab.case.path("again.npy"), other).unwrap();
    let output = lab.run(&["--verify"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    // whichever of them was the first to tell
    let told = ["one", "two"].map(|host| format!(" of 2 on host {host}: 1 of 3 answers are not good"));
    assert!(told.iter().any(|words| text(&output).contains(words)), "{}", text(&output));

    // a host without room
    wait_for("the files' end", || is_empty().then_some(()));
    fs::remove_dir(&kept).unwrap();
    let output = lab.run(&["--verify"]);
    assert!(output.status.code() == Some(1), "{}", text(&output));
    let words =
        format!(": no folder for data files: No such file or directory (os error 2) at path \"{}/", kept.display());
    assert!(text(&output).contains(&words), "{}", text(&output));
}

#[test]
fn hosts_take_the_arrivals_of_a_file_in_turn_and_do_not_need_it() {
    let scenario = SCENARIO
        .replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "processes = [2]")
        .replace("iterations = 50", "blocks = 2\n    arrivals = {file = \"times.csv\"}");
    let lab = Lab::new("", &scenario, &["one", "two"], "");
    let times: String = (0..41).map(|number| format!("{}\n", f64::from(number) * 0.005)).collect();
    fs::write(lab.case.path("times.csv"), times).unwrap();
    let output = lab.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
    for row in lab.case.records() {
        assert_eq!((row.status, row.requests, row.case.rate), (Status::Ok, 82, Some(200.0)), "{row:?}");
    }
    let shares: Vec<u64> = lab.host_rows().iter().map(|row| row.requests).collect();
    assert_eq!(shares, [42, 40, 42, 40]);
    let data = read_manifest(&lab.case.newest().unwrap()).unwrap().data;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["times.csv"]);
}
