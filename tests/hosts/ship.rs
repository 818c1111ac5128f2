//! `--ship`: the program is copied to hosts that do not have it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::{SCENARIO, text};
use crate::machines::{Lab, PROGRAM, all_end, write_program};

const ONE_CASE: &[&str] = &["--ship", "--quiet", "--protocols", "http", "--batch-sizes", "1", "--processes", "2"];

/// Hosts of which the program is expected where it is not.
fn lab(names: &[&str]) -> Lab {
    Lab::new("", SCENARIO, names, "program = \"/no/such/runner\"")
}

/// The program without what debuggers need, where that can be taken out: it is read and copied again and again.
fn program(lab: &Lab) -> PathBuf {
    let small = lab.case.path("small");
    if !small.exists()
        && !Command::new("strip")
            .arg("-o")
            .args([&small, Path::new(PROGRAM)])
            .status()
            .is_ok_and(|it| it.success())
    {
        fs::copy(PROGRAM, &small).unwrap();
    }
    small
}

/// What a host's home has where copies go.
fn copies(lab: &Lab, host: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(lab.case.path(&format!("home-{host}/.cache/runner")));
    folder.into_iter().flatten().map(|file| file.unwrap().path()).collect()
}

/// A home for each host, of its own.
fn home(lab: &Lab) -> String {
    let homes = lab.case.path("home");
    format!("unset XDG_CACHE_HOME; HOME='{}'-$host; export HOME; mkdir -p \"$HOME\"", homes.display())
}

#[test]
fn the_program_is_copied_once_to_each_host_and_for_its_user_alone() {
    let lab = lab(&["one", "two"]);
    lab.ssh(&home(&lab));
    let output = lab.run_as(&program(&lab), ONE_CASE);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(lab.host_rows().len(), 2);
    let of_hosts: Vec<PathBuf> = ["one", "two"].iter().flat_map(|host| copies(&lab, host)).collect();
    let [first, second] = &of_hosts[..] else { panic!("{of_hosts:?}") };
    assert_eq!(first.file_name(), second.file_name());
    let before: Vec<_> = of_hosts.iter().map(|path| fs::metadata(path).unwrap()).collect();
    for (path, metadata) in of_hosts.iter().zip(&before) {
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o700, "{}", path.display());
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        assert!(fs::read(path).unwrap() == fs::read(program(&lab)).unwrap(), "{}", path.display());
    }
    // to look, to copy, to work
    assert_eq!(lab.started("one").len(), 3);

    let output = lab.run_as(&program(&lab), ONE_CASE);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(lab.started("one").len(), 5, "it is copied again");
    for (path, before) in of_hosts.iter().zip(&before) {
        let after = fs::metadata(path).unwrap();
        assert_eq!((after.ino(), after.modified().unwrap()), (before.ino(), before.modified().unwrap()));
    }
    assert_eq!(copies(&lab, "one").len(), 1);
    all_end(&[lab.started("one"), lab.started("two")].concat());
}

#[test]
fn a_shell_that_greets_does_not_disturb_the_copy() {
    let lab = lab(&["one"]);
    lab.ssh(&format!("{}; echo 'Welcome to Linux'; echo", home(&lab)));
    let output = lab.run_as(&program(&lab), ONE_CASE);
    assert!(output.status.success(), "{}", text(&output));
    assert!(copies(&lab, "one").len() == 1 && lab.host_rows()[0].requests == 100);
}

#[test]
fn a_host_that_cannot_have_the_program_is_told() {
    let lab = lab(&["one", "two"]);
    let tools = lab.case.path("tools");
    fs::create_dir(&tools).unwrap();
    write_program(&tools.join("uname"), "#!/bin/sh\necho Linux s390x\n");
    let first = |first: &str| lab.ssh(&format!("{}; [ $host = one ] || {{ {first}; }}", home(&lab)));
    let own = Command::new("uname").arg("-sm").output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    let check = |words: &str| {
        let output = lab.run_as(&program(&lab), ONE_CASE);
        assert_eq!(output.status.code(), Some(1), "{words}: {}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
        assert!(lab.case.newest().is_none() && copies(&lab, "two").is_empty(), "{words}");
        all_end(&[lab.started("one"), lab.started("two")].concat());
    };
    first(&format!("PATH='{}':$PATH", tools.display()));
    check(&format!("host two cannot be used: --ship: it is Linux s390x, and this program is for {}", own.trim()));
    first("echo 'ssh: connect to host two port 22: Connection refused' >&2; exit 255");
    check("host two cannot be used: (exit status: 255): ssh: connect to host two port 22: Connection refused");
    // a home that is a file
    first("rmdir \"$HOME\"; HOME=/dev/null");
    check("host two cannot be used: --ship: the program cannot be copied to /dev/null/.cache/runner/runner-");
}
