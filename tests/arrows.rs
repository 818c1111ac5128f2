//! The walls of the program: which module may use which, who may print, start processes and read the clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module and the modules that it may use. Whoever is not listed fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["embedded", "report", "run", "scenario"]),
    // nothing of the client: the server must not be tuned to it
    ("embedded", &["proto", "tensor"]),
    ("environment", &["text"]),
    ("file", &[]),
    ("lookalike", &[]),
    ("models", &["file", "proto", "scenario"]),
    ("plan", &["scenario"]),
    ("preflight", &["protocol", "scenario"]),
    ("process", &["text"]),
    ("proto", &["lookalike", "text"]),
    // generated code names its own helpers
    ("protocol", &["proto", "tensor", "text"]),
    ("record", &["environment", "file", "plan", "recorder", "scenario", "tensor"]),
    ("recorder", &[]),
    ("report", &["file", "record", "statistics", "text"]),
    (
        "run",
        &[
            "embedded",
            "environment",
            "file",
            "models",
            "plan",
            "preflight",
            "process",
            "protocol",
            "record",
            "recorder",
            "report",
            "scenario",
            "statistics",
            "tensor",
            "text",
            "worker",
        ],
    ),
    ("scenario", &["lookalike", "tensor"]),
    ("statistics", &[]),
    ("tensor", &[]),
    ("text", &[]),
    ("worker", &["process", "protocol", "recorder", "scenario", "tensor"]),
];

/// What one file may use beyond its module.
const FILE_ARROWS: &[(&str, &[&str])] = &[
    // a column of the records is a protocol
    ("report/markdown.rs", &["scenario"]),
    ("report/notes.rs", &["scenario", "tensor"]),
    // the plan is listed, and progress shown, before there are records
    ("report/terminal.rs", &["plan", "scenario"]),
];

/// A worker's output is its messages.
const PRINTERS: &[&str] = &["report/terminal.rs", "worker/child.rs"];
const PROCESS_STARTERS: &[&str] = &["process.rs"];
/// The client's clock is read around requests, and for the time that a case may take; the server's own statistics need one
/// too.
const CLOCK_READERS: &[&str] = &[
    "embedded/",
    "run/budget.rs",
    "worker/child.rs",
    "worker/pace.rs",
    "worker/patience.rs",
    "worker/pool.rs",
    "worker/timeline.rs",
];
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
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{file}: the module {module} is not in the table of arrows"));
            continue;
        };
        let own = FILE_ARROWS.iter().find(|(name, _)| *name == file).map_or(&[][..], |(_, own)| own);
        for other in used(&program(&text)) {
            if other != module && !allowed.contains(&other.as_str()) && !own.contains(&other.as_str()) {
                wrong.push(format!("{file}: {module} -> {other} is not an arrow"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_some_may_print_start_processes_or_read_the_clock() {
    let rules: [(&[&str], &[&str]); 4] = [
        // they panic where nobody reads
        (&["println!", "eprintln!", "print!(", "eprint!(", "dbg!("], &[]),
        (&["io::stdout", "io::stderr"], PRINTERS),
        (&["Command::new", "current_exe"], PROCESS_STARTERS),
        (&["Instant::now", "SystemTime::now"], CLOCK_READERS),
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
        "//! x\nuse crate::{scenario::Case, plan};\nlet x = crate::record::y();\n// crate::no\n#[cfg(test)]\nmod tests { use crate::cli; }",
    );
    assert_eq!(used(&code).into_iter().collect::<Vec<_>>(), ["plan", "record", "scenario"]);
    assert!(Path::new("src/lib.rs").exists());
}
