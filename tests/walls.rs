//! The walls of the program: which module may use which, who may print, start processes and read the clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that a module may use, and those that one of its files may use beyond them.
struct Arrows {
    module: String,
    all: Vec<String>,
    files: Vec<(String, Vec<String>)>,
}

/// The table of the crate's documentation. A module missing from it fails the test.
fn arrows() -> Vec<Arrows> {
    let documented = fs::read_to_string("src/lib.rs").unwrap();
    let rows = documented.lines().filter_map(|line| line.strip_prefix("//! | [`")?.strip_suffix(" |"));
    let names = |list: &str| -> Vec<String> {
        list.split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| name != "nothing")
            .collect()
    };
    let arrows: Vec<Arrows> = rows
        .map(|row| {
            let module = row.split('`').next().unwrap().to_owned();
            let mut parts = row.rsplit(" | ").next().unwrap().split("; ");
            let all = names(parts.next().unwrap());
            let of_file = |part: &str| {
                let (file, also) = part.split_once("` also ").unwrap();
                (format!("{module}/{}", file.trim_start_matches('`')), names(also))
            };
            Arrows { files: parts.map(of_file).collect(), module, all }
        })
        .collect();
    assert!(arrows.len() > 15, "the table is not where it is looked for");
    arrows
}

/// A worker's output is its messages.
const PRINTERS: &[&str] = &["report/terminal/mod.rs", "worker/child.rs"];
const PROCESS_STARTERS: &[&str] = &["process.rs"];
/// The client's clock is read around requests, and for the time that a case may take; the server's own statistics need one
/// too.
const CLOCK_READERS: &[&str] =
    &["embedded/", "run/budget.rs", "worker/child.rs", "worker/pace.rs", "worker/deadline.rs", "worker/timeline.rs"];
/// When something was, for people.
const WALL_CLOCK_READERS: &[&str] = &["clock.rs", "embedded/"];
/// When a run, a case, a block or a sample began or ended.
const TIMESTAMPERS: &[&str] =
    &["run/blank_row.rs", "run/block_row.rs", "run/case_run.rs", "run/mod.rs", "run/sampler.rs"];
/// Lines of a file before it has to be split along the flow.
const CROWDED: usize = 450;

/// Path below `src`, and the text up to the unit tests.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![PathBuf::from("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix("src").unwrap().to_string_lossy().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 30, "the sources are not where they are looked for");
    files
}

/// Without comments and without what follows the first `#[cfg(test)]` that stands on its own at the end of a file.
fn program(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let code = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The modules after each `crate::`, also in braces.
fn used(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(braced) => braced.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for item in list {
            let name: String = item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            modules.insert(name);
        }
    }
    modules.remove("");
    modules
}

#[test]
fn modules_use_only_what_they_may() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(of_module) = arrows.iter().find(|arrows| arrows.module == module) else {
            wrong.push(format!("{file}: the module {module} is not in the table of src/lib.rs"));
            continue;
        };
        let own = of_module.files.iter().filter(|(name, _)| *name == file).flat_map(|(_, also)| also);
        let allowed: Vec<&String> = of_module.all.iter().chain(own).collect();
        for other in used(&program(&text)) {
            if other != module && !allowed.contains(&&other) {
                wrong.push(format!("{file}: {module} -> {other} is not in the table of src/lib.rs"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files that a file uses: `super::x` and `crate::x::y`, as far as those are files.
fn files_used(file: &str, code: &str, all: &BTreeSet<String>) -> BTreeSet<String> {
    let folder: Vec<&str> = match file.strip_suffix("/mod.rs") {
        Some(folder) => folder.split('/').collect(),
        None => {
            let mut parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
            parts.pop();
            parts
        }
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("super::").chain(code.match_indices("crate::")) {
        // `super::super::` is found at its first word
        if code[..at].ends_with("super::") || code[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':') {
            continue;
        }
        let end =
            code[at..].find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}' | ',' | ' ' | '\n')));
        for path in paths(&code[at..end.map_or(code.len(), |end| at + end)]) {
            let mut parts = path.split("::").peekable();
            let mut place: Vec<&str> = Vec::new();
            if parts.next() == Some("super") {
                place = folder.clone();
                while parts.next_if_eq(&"super").is_some() {
                    place.pop();
                }
            }
            let mut known = None;
            for part in parts {
                place.push(part);
                let path = place.join("/");
                known = [format!("{path}.rs"), format!("{path}/mod.rs")]
                    .into_iter()
                    .find(|path| all.contains(path))
                    .or(known);
            }
            found.extend(known);
        }
    }
    found
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`, up to the end of a use.
fn paths(text: &str) -> Vec<String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((head, rest)) = text.split_once('{') else {
        return vec![text.split([',', '}']).next().unwrap_or_default().to_owned()];
    };
    if head.contains([',', '}']) {
        return vec![head.split([',', '}']).next().unwrap_or_default().to_owned()];
    }
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for character in rest.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(std::mem::take(&mut item));
                continue;
            }
            _ => {}
        }
        item.push(character);
    }
    items.push(item);
    items
        .iter()
        .filter(|item| !item.is_empty())
        .flat_map(|item| paths(&format!("{head}{item}")))
        .collect()
}

/// A folder's `mod.rs` stands above its files: uses between it and them are not a cycle.
#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = sources();
    let names: BTreeSet<String> = sources.iter().map(|(file, _)| file.clone()).collect();
    let of_file = |(file, text): &(String, String)| (file.clone(), files_used(file, &program(text), &names));
    let mut uses: Vec<(String, BTreeSet<String>)> =
        sources.iter().filter(|(file, _)| !file.ends_with("mod.rs")).map(of_file).collect();
    // a file that uses none of those that are left is in no circle
    loop {
        let left: BTreeSet<String> = uses.iter().map(|(file, _)| file.clone()).collect();
        uses.iter_mut()
            .for_each(|(file, used)| used.retain(|other| other != file && left.contains(other)));
        let before = uses.len();
        uses.retain(|(_, used)| !used.is_empty());
        if uses.len() == before {
            break;
        }
    }
    assert!(uses.is_empty(), "in a circle, or above one: {uses:#?}");
}

#[test]
fn a_circle_would_be_seen() {
    let all: BTreeSet<String> = ["a/b.rs", "a/c.rs", "d.rs", "a/e/mod.rs"].map(str::to_owned).into();
    let code = "use super::{b::X, e};\nuse crate::{d::{Y, Z}, a::b};\nlet x = super::super::d::f(1, 2);";
    let used = files_used("a/c.rs", code, &all).into_iter().collect::<Vec<_>>();
    assert_eq!(used, ["a/b.rs", "a/e/mod.rs", "d.rs"]);
}

#[test]
fn only_some_may_print_start_processes_or_read_the_clock() {
    let rules: [(&[&str], &[&str]); 6] = [
        // they panic where nobody reads
        (&["println!", "eprintln!", "print!(", "eprint!(", "dbg!("], &[]),
        (&["io::stdout", "io::stderr"], PRINTERS),
        (&["Command::new", "current_exe"], PROCESS_STARTERS),
        (&["Instant::now"], CLOCK_READERS),
        // a wall clock may jump: it says when something was, and never how long it took
        (&["SystemTime::now"], WALL_CLOCK_READERS),
        (&["Timestamp::now"], TIMESTAMPERS),
    ];
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let code = program(&text);
        for (words, allowed) in rules {
            for word in words.iter().filter(|word| code.contains(**word)) {
                if !allowed.iter().any(|place| file.starts_with(place)) && !file.ends_with("_tests.rs") {
                    wrong.push(format!(
                        "{file}: {word} belongs in {}",
                        if allowed.is_empty() { "no file".to_owned() } else { allowed.join(", ") }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_own_and_are_not_crowded() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} does not begin with what it owns");
        let lines = text.lines().count();
        assert!(lines <= CROWDED, "{file} has {lines} lines: split it along the flow");
    }
}

#[test]
fn a_forbidden_arrow_is_seen() {
    let code = program(
        "//! x\nuse crate::{scenario::Case, plan};\nlet x = crate::record::y();\n// crate::no\n#[cfg(test)]\nmod tests { use crate::cmd; }",
    );
    assert_eq!(used(&code).into_iter().collect::<Vec<_>>(), ["plan", "record", "scenario"]);
    assert!(Path::new("src/lib.rs").exists());
}

#[test]
fn what_is_promised_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let named = promises.split('`').filter_map(|code| code.split_once(".rs: "));
    let mut count = 0;
    for (file, test) in named {
        let file = format!("{file}.rs");
        let text = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(&format!("fn {test}(")), "{file} has no test {test}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}
