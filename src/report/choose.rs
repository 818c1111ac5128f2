//! Chooses the run to show for a scenario: a complete and full run before a lesser one. A lesser run never replaces a
//! better one unless asked. Knows records; must not know documents.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use super::run::Run;
use crate::record::{self, MANIFEST, Manifest, Record, Searched, State};

/// Options that change neither what is measured nor how long.
const HARMLESS: [&str; 1] = ["--awake"];
/// Options that reports describe in their own words.
const TOLD: [&str; 2] = ["--quick", "--server embedded"];

/// A run's folder and manifest.
pub type Candidate = (PathBuf, Manifest);

/// A chosen run, with notes on the choice.
pub struct Choice {
    /// The run.
    pub run: Run,
    /// Newer runs that were passed over, and why.
    pub notes: Vec<String>,
}

/// The run that a word on the command line or in a marker names: a run's folder, or a scenario's name.
///
/// # Errors
/// There is no such run.
pub fn find(results: &Path, word: &str) -> Result<Choice> {
    if is_folder(word) {
        return Ok(Choice { run: Run::open(Path::new(word))?, notes: Vec::new() });
    }
    newest(results, word, |_| true)
}

/// Whether a word names a run's folder.
pub fn is_folder(word: &str) -> bool {
    Path::new(word).join(MANIFEST).is_file()
}

/// The newest complete run of a scenario, of those that are wanted if there are any. Prefers a full run to one changed on the command
/// line, and that to a quick run or one of the embedded server.
fn newest(results: &Path, scenario: &str, is_wanted: impl Fn(&Manifest) -> bool) -> Result<Choice> {
    let (mut runs, mut notes) = complete(results, scenario)?;
    if runs.iter().any(|(_, manifest)| is_wanted(manifest)) {
        runs.retain(|(_, manifest)| is_wanted(manifest));
    }
    let newest = runs.first().cloned();
    while !runs.is_empty() {
        let (index, _) = runs
            .iter()
            .enumerate()
            .min_by_key(|(_, (_, manifest))| rank(manifest))
            .unwrap_or((0, &runs[0]));
        let (path, _) = runs.remove(index);
        match Run::open(&path) {
            Ok(run) => {
                if let Some((newer, manifest)) =
                    newest.filter(|(newest, manifest)| *newest != path && rank(manifest) > 0)
                {
                    let reasons = shortcomings(&manifest).join(", ");
                    let (path, newer) = (path.display(), newer.display());
                    notes.push(format!("{path} is shown; {newer} is newer, but {reasons}: name its folder to see it"));
                }
                return Ok(Choice { run, notes });
            }
            Err(error) => notes.push(format!("{} is passed over: {error:#}", path.display())),
        }
    }
    let notes: String = notes.iter().map(|note| format!(" ({note})")).collect();
    let folder = results.join(scenario);
    let help = format!("run `runner scenarios/{scenario}.toml`, or name a run's folder");
    Err(anyhow!("{} holds no complete run{notes}: {help}", folder.display()))
}

/// The run of a scenario that replaces `shown`, the folder that `document` shows now: the newest complete run without
/// objections, possibly `shown` itself.
///
/// # Errors
/// No such run exists; or `shown` is gone, and no full run could replace it.
pub fn successor(results: &Path, scenario: &str, shown: &Path, document: &Path) -> Result<Choice> {
    let name = shown.file_name().unwrap_or_default();
    let by_name = |path: &Path| format!("runner report --splice {} {}", document.display(), path.display());
    let here = results.join(scenario).join(name);
    let Some(before) = [here.as_path(), shown].into_iter().find_map(|path| Run::open(path).ok()) else {
        let choice = newest(results, scenario, |_| true)?;
        let (path, reasons) = (&choice.run.path, shortcomings(&choice.run.manifest));
        ensure!(
            reasons.is_empty(),
            "{} is shown and is not there any more; {} does not take its place unasked, for {}: to show it, name its folder: {}",
            shown.display(),
            path.display(),
            reasons.join(", "),
            by_name(path),
        );
        return Ok(choice);
    };
    let (runs, mut notes) = complete(results, scenario)?;
    for (path, _) in runs.into_iter().take_while(|(path, _)| path.file_name() > Some(name)) {
        let reasons = match Run::open(&path) {
            Ok(run) => match objections(&run, &before) {
                none if none.is_empty() => return Ok(Choice { run, notes }),
                reasons => reasons.join(", "),
            },
            Err(error) => format!("{error:#}"),
        };
        let (stays, newer) = (before.path.display(), path.display());
        notes.push(format!(
            "{stays} stays; {newer} is newer, but {reasons}: to show it, name its folder: {}",
            by_name(&path)
        ));
    }
    Ok(Choice { run: before, notes })
}

/// The complete runs of a scenario that are like the one which reports show, or like the best of those that are wanted, oldest first;
/// and the others, each with why it is not one of them. A server's or the program's version may differ.
///
/// # Errors
/// There is no complete run.
pub fn alike(
    results: &Path,
    scenario: &str,
    is_wanted: impl Fn(&Manifest) -> bool,
) -> Result<(Vec<Candidate>, Vec<String>)> {
    let shown = newest(results, scenario, is_wanted)?.run;
    let (runs, mut notes) = complete(results, scenario)?;
    let mut alike = Vec::new();
    for (path, manifest) in runs {
        match unlike(&manifest, &shown.manifest) {
            reasons if reasons.is_empty() => alike.push((path, manifest)),
            reasons => notes.push(format!("{} is left out: {}", path.display(), reasons.join(", "))),
        }
    }
    alike.reverse();
    Ok((alike, notes))
}

/// Why a run's numbers are not of the same series as another one's.
fn unlike(manifest: &Manifest, shown: &Manifest) -> Vec<String> {
    let changed = |manifest: &Manifest| match changes(manifest).join(" ") {
        none if none.is_empty() => "no options".to_owned(),
        options => options,
    };
    let length = |manifest: &Manifest| if is_quick(manifest) { "quick" } else { "full" };
    let reasons = [
        other("length", length(manifest), length(shown)),
        other("server", &server(manifest), &server(shown)),
        other("model", &manifest.model, &shown.model),
        other("machine", &machine(manifest), &machine(shown)),
        other("capacity", &searched(manifest), &searched(shown)),
        (changed(manifest) != changed(shown))
            .then(|| format!("it was run with {} instead of {}", changed(manifest), changed(shown))),
    ];
    reasons.into_iter().flatten().collect()
}

/// The names of the scenarios that have runs, in alphabetical order.
///
/// # Errors
/// The folder of results does not exist.
pub fn scenarios(results: &Path) -> Result<Vec<String>> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let has_runs = |path: &&PathBuf| folders(path).is_ok_and(|runs| runs.iter().any(|run| run.join(MANIFEST).exists()));
    Ok(folders(results)?.iter().filter(has_runs).filter_map(name).collect())
}

/// The complete runs of a scenario, newest first, and notes on those passed over.
fn complete(results: &Path, scenario: &str) -> Result<(Vec<Candidate>, Vec<String>)> {
    let parts: Vec<Component> = Path::new(scenario).components().collect();
    ensure!(matches!(parts[..], [Component::Normal(_)]), "{scenario} is not a run's folder: it has no {MANIFEST}",);
    let (mut runs, mut notes) = (Vec::new(), Vec::new());
    for path in folders(&results.join(scenario))?
        .into_iter()
        .rev()
        .filter(|path| path.join(MANIFEST).exists())
    {
        match record::read_manifest(&path) {
            Ok(manifest) if manifest.state == State::Complete => runs.push((path, manifest)),
            // the newest of several in a row is enough
            Ok(manifest) if runs.is_empty() && notes.is_empty() => notes.push(format!(
                "{} is passed over: {}; name its folder to see what there is",
                path.display(),
                match manifest.state {
                    State::Running => "it has not ended, or was killed",
                    State::Interrupted => "it was stopped",
                    _ => "some of its cases are not good",
                }
            )),
            Ok(_) => {}
            Err(error) => notes.push(format!("{} is passed over: {error:#}", path.display())),
        }
    }
    Ok((runs, notes))
}

/// The folders in a folder, by name; runs are named by their time, so the last is the newest.
fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(parent).with_context(|| format!("there are no results in {}", parent.display()))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

/// How far a run is from a full one.
fn rank(manifest: &Manifest) -> u8 {
    2 * u8::from(is_quick(manifest)) + 2 * u8::from(is_embedded(manifest)) + u8::from(!changes(manifest).is_empty())
}

fn is_quick(manifest: &Manifest) -> bool {
    // older manifests lack the field; `--quick` was their only reason to end early
    manifest.quick && manifest.cap_s.is_some() || manifest.overridden.iter().any(|option| option == "--quick")
}

fn is_embedded(manifest: &Manifest) -> bool {
    manifest.overridden.iter().any(|option| option == "--server embedded") || manifest.server.starts_with("embedded (")
}

/// The options that make a run differ from its scenario.
fn changes(manifest: &Manifest) -> Vec<&str> {
    let changes = |option: &&str| !HARMLESS.contains(option) && !TOLD.contains(option);
    manifest.overridden.iter().map(String::as_str).filter(changes).collect()
}

/// Why a run is not a full one, in words.
fn shortcomings(manifest: &Manifest) -> Vec<String> {
    let changes = changes(manifest);
    let reasons = [
        is_quick(manifest).then(|| "it is a quick run".to_owned()),
        is_embedded(manifest).then(|| "it is of the embedded server".to_owned()),
        (!changes.is_empty()).then(|| format!("it was run with {}", changes.join(" "))),
    ];
    reasons.into_iter().flatten().collect()
}

/// Why a run should not replace another one unasked: it is lesser, or measured something else.
fn objections(run: &Run, before: &Run) -> Vec<String> {
    let (new, old) = (&run.manifest, &before.manifest);
    let missing = before
        .records
        .iter()
        .filter(|record| !run.records.iter().any(|row| same_case(row, record)))
        .count();
    let cap = new.cap_s.filter(|cap| old.cap_s.is_none_or(|before| *cap < before));
    let seconds = |duration: Option<f64>| duration.unwrap_or_default();
    let reasons = [
        (is_quick(new) && !is_quick(old)).then(|| "it is a quick run".to_owned()),
        (is_embedded(new) && !is_embedded(old)).then(|| "it is of the embedded server".to_owned()),
        (missing > 0).then(|| format!("it lacks {missing} of {} cases", before.records.len())),
        cap.filter(|_| !is_quick(new)).map(|cap| format!("its cases end after {cap} s")),
        fewer("iterations", new.iterations as f64, old.iterations as f64),
        fewer("seconds a case", seconds(new.duration_s), seconds(old.duration_s)),
        fewer("requests to warm up", new.warmup as f64, old.warmup as f64),
        fewer("blocks", new.blocks.into(), old.blocks.into()),
        other("model", &new.model, &old.model),
        other("server", &server(new), &server(old)).filter(|_| !is_embedded(new)),
        other("weights", &new.weights, &old.weights),
        other("machine", &machine(new), &machine(old)),
        other("capacity", &searched(new), &searched(old)),
    ];
    reasons.into_iter().flatten().collect()
}

fn same_case(one: &Record, other: &Record) -> bool {
    one.case == other.case
}

fn fewer(what: &str, new: f64, old: f64) -> Option<String> {
    (new < old).then(|| format!("it has {new} {what} instead of {old}"))
}

fn other(what: &str, new: &str, old: &str) -> Option<String> {
    (new != old).then(|| format!("its {what} is another one ({new} instead of {old})"))
}

/// The server's name and host; the version and the ports may change.
fn server(manifest: &Manifest) -> String {
    let host = manifest.http.rsplit_once(':').map_or(manifest.http.as_str(), |(host, _)| host);
    format!("{} at {}", manifest.server, if manifest.one_machine { "this machine" } else { host })
}

/// What was searched for the capacity.
fn searched(manifest: &Manifest) -> String {
    manifest.capacity.as_ref().map_or("none".to_owned(), Searched::what)
}

/// The client's machine, by what upgrades do not change.
fn machine(manifest: &Manifest) -> String {
    let client = &manifest.client;
    let cores = client.cores.map_or_else(String::new, |cores| format!(", {cores} cores"));
    let hosts = match manifest.hosts.len() {
        0 => String::new(),
        // their names may change from job to job
        hosts => {
            let cores = manifest.hosts.iter().filter_map(|host| host.environment.cores).sum::<usize>();
            format!(", and {hosts} hosts with {cores} cores")
        }
    };
    format!("{}{cores}{hosts}", client.cpu.as_deref().unwrap_or("an unknown processor"))
}
