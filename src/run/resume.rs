//! Takes up a run that did not end: what of it is measured, whether everything is as it was, and its files without what has to
//! be measured again. Must not know how anything is measured.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::folder::Folder;
use super::kept::{self, KeptBlock};
use super::request_rows;
use super::sweep::{self, Sweep};
use super::targets::Targets;
use crate::environment::Environment;
use crate::file;
use crate::matrix::{AxisId, Point};
use crate::plan::{Group, Plan};
use crate::record::column::Row;
use crate::record::{
    self, Asked, BLOCKS, BlockRecord, COLD_STARTS, ColdStartRecord, HISTOGRAMS, HOSTS, HostRecord, METRICS,
    MODEL_CONFIG, Machine, Manifest, MetricRow, RECORDS, REQUESTS, RESUME, Record, Resumed, SCENARIO, STAGES,
    StageRecord, State, Status,
};
use crate::scenario::Scenario;

/// What `--resume` asks for.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The run's folder.
    pub run: PathBuf,
    /// Whether to go on if something is not as before.
    pub anyway: bool,
}

/// The command line of a run, without the program's name, and the scenario's file.
///
/// # Errors
/// The folder is no run's, nothing is missing, or the run does not say how it was started.
pub fn asked(run: &Path) -> Result<(Vec<String>, PathBuf)> {
    let manifest = record::read_manifest(run).with_context(|| format!("--resume {}", run.display()))?;
    ensure!(
        manifest.state != State::Complete,
        "--resume {}: nothing is missing: all {} cases are measured",
        run.display(),
        manifest.cases
    );
    ensure!(
        !manifest.file.is_empty(),
        "--resume {}: it was written by an older version, which did not record how it was started: start a new run",
        run.display()
    );
    Ok((manifest.arguments, manifest.file.into()))
}

/// A run that goes on.
pub struct Going {
    /// Its folder.
    pub folder: Folder,
    /// Its manifest, as it was written.
    pub manifest: Manifest,
    /// The groups that are measured.
    pub measured: Measured,
    /// The blocks of the group that was under way.
    pub kept: Vec<KeptBlock>,
}

impl Going {
    /// Whether the run was taken up again, this time or before, with something that was not as before.
    pub fn differs(&self) -> bool {
        self.manifest.resumed.iter().any(|resumed| !resumed.differs.is_empty())
    }
}

/// The rows of groups all of whose cases were measured to the end, by tag.
#[derive(Default)]
pub struct Measured(HashMap<String, Record>);

impl Measured {
    fn new(plan: &Plan, rows: Vec<Record>, is_skipped: impl Fn(&Point) -> bool) -> Self {
        let is_measured = |row: &Record| match row.status {
            Status::Ok | Status::Errors => true,
            Status::Skipped => is_skipped(&row.case),
            Status::Failed | Status::Interrupted | Status::NotRun => false,
        };
        let rows = rows.into_iter().filter(is_measured).map(|row| (row.case.tag(), row)).collect();
        let mut found = Measured(rows);
        let whole = plan.groups.iter().filter_map(|group| found.of(group));
        let whole: HashSet<String> = whole.flatten().map(|row| row.case.tag()).collect();
        found.0.retain(|tag, _| whole.contains(tag));
        found
    }

    /// The rows of a group, in its order; `None` if one is missing.
    pub fn of(&self, group: &Group) -> Option<Vec<&Record>> {
        group.cases.iter().map(|case| self.0.get(&case.tag())).collect()
    }

    /// All rows, in the plan's order.
    fn rows(&self, plan: &Plan) -> Vec<Record> {
        plan.cases().filter_map(|case| self.0.get(&case.tag())).cloned().collect()
    }
}

/// Takes up a run. `now` is the manifest that a new run would have.
///
/// # Errors
/// Something is not as before, and nobody said that this does not matter; a file cannot be read or
/// written.
pub fn take_up(
    resume: &Resume,
    folder: Folder,
    scenario: &Scenario,
    plan: &Plan,
    targets: &Targets,
    now: &Manifest,
) -> Result<Going> {
    let run = &resume.run;
    let before = record::read_manifest(run)?;
    let differs = differences(run, scenario, targets, &before, now)?;
    if !differs.is_empty() && !resume.anyway {
        bail!(
            "{}: not all is as it was: {}. Start a new run, or go on with --resume-anyway, which marks the rows",
            run.display(),
            differs.join("; ")
        );
    }
    let rows: Vec<Record> = record::read_if_any(&run.join(RECORDS))?.rows;
    // what failed is measured again, and what was skipped because of it
    let mut sweep = Sweep::new(scenario);
    sweep.note(rows.iter().filter(|row| row.status != Status::Failed), run)?;
    let skips = |case: &Point| sweep.skips(case).is_some();
    let measured = Measured::new(plan, rows, skips);
    let under_way = plan.groups.iter().find(|group| measured.of(group).is_none());
    ensure!(
        under_way.is_some() || before.state == State::Running,
        "--resume {}: nothing is missing: all {} cases are measured",
        run.display(),
        before.cases
    );
    let kept = kept::read(&std::fs::read(run.join(RESUME)).unwrap_or_default());
    // there is one group under way at most
    let under_way = under_way.and_then(|group| sweep::without(group, skips));
    let kept = under_way.map_or(Vec::new(), |group| kept::of_group(&group, kept).1);
    let mut going = Going { folder, manifest: before, measured, kept };
    prune(run, plan, &going)?;
    going.folder.keep_only(&going.kept)?;
    going.manifest.resumed.push(Resumed { time: now.started, differs });
    // rows of this part may be of others
    let known: HashSet<String> = going.manifest.hosts.iter().map(|host| host.name.clone()).collect();
    let new = now.hosts.iter().filter(|host| !known.contains(&host.name));
    going.manifest.hosts.extend(new.cloned());
    going.manifest.state = State::Running;
    going.manifest.ended = None;
    going.folder.manifest(&going.manifest)?;
    Ok(going)
}

/// What is not as before, each in a few words.
fn differences(
    run: &Path,
    scenario: &Scenario,
    targets: &Targets,
    before: &Manifest,
    now: &Manifest,
) -> Result<Vec<String>> {
    let mut differs = Vec::new();
    let mut note = |what: &str, before: &str, now: &str| {
        if before != now {
            differs.push(format!("{what}: {before} → {now}"));
        }
    };
    note("version of the program", &before.runner_version, &now.runner_version);
    note("commit of the program", &before.git_revision, &now.git_revision);
    for (name, of) in MACHINE {
        note(name, &of(&before.client), &of(&now.client));
    }
    let known: HashMap<String, Asked> = before.asked().into_iter().map(|asked| (asked.tag(), asked)).collect();
    let machine = |machine: &Machine| format!("{} ({})", machine.name, machine.environment.summary());
    let machines = |manifest: &Manifest| manifest.hosts.iter().map(machine).collect::<Vec<_>>().join(", ");
    note("hosts", &machines(before), &machines(now));
    for asked in &now.targets {
        let Some(known) = known.get(&asked.tag()) else { continue };
        let label = |what: &str| format!("{what}{}", asked.tag().replace('-', " "));
        note(&label("server"), &known.server, &asked.server);
        note(&label("server version"), &known.server_version, &asked.server_version);
        note(&label("model"), &known.model, &asked.model);
        note(&label("weights"), &known.weights, &asked.weights);
    }
    if std::fs::read_to_string(run.join(SCENARIO)).with_context(|| run.join(SCENARIO).display().to_string())?
        != scenario.text
    {
        differs.push(format!("the scenario: {} has another text", scenario.file.display()));
    }
    // a run of an earlier version does not tell
    for (file, digest) in now.data.iter().filter(|_| !before.data.is_empty()) {
        if before.data.get(file) != Some(digest) {
            differs.push(format!("the data: {file} has other content"));
        }
    }
    for (target, asked) in targets.counted().zip(&now.targets) {
        let name = format!("{MODEL_CONFIG}{}.json", asked.tag());
        let known: Option<serde_json::Value> = match run.join(&name) {
            file if file.exists() => Some(record::read_json(&file)?),
            _ => None,
        };
        if known.as_ref() != target.reached.config.as_ref().map(|config| &config.json) {
            differs.push(format!("the model's configuration: {name}"));
        }
    }
    Ok(differs)
}

/// Words about a machine.
type OfMachine = fn(&Environment) -> String;

/// What of a machine matters for numbers.
const MACHINE: [(&str, OfMachine); 5] = [
    ("operating system", |machine| machine.os.clone()),
    ("kernel", |machine| machine.kernel.clone().unwrap_or_default()),
    ("processor", |machine| machine.cpu.clone().unwrap_or_default()),
    ("cores", |machine| machine.cores.map_or(String::new(), |cores| cores.to_string())),
    ("memory", |machine| machine.memory_mib.map_or(String::new(), |mib| format!("{mib} MiB"))),
];

/// Takes out of a run's files what is measured again, and lines that were not written whole.
fn prune(run: &Path, plan: &Plan, going: &Going) -> Result<()> {
    let has = |tag: &String, round: usize| {
        let is_kept = |block: &KeptBlock| block.case == *tag && block.round == round;
        going.measured.0.contains_key(tag) || going.kept.iter().any(is_kept)
    };
    rewrite(&run.join(RECORDS), &record::lines(&going.measured.rows(plan), true)?)?;

    let blocks: Vec<BlockRecord> = record::read_if_any(&run.join(BLOCKS))?.rows;
    // blocks of a search are of one case, at loads of their own
    let searched = going.manifest.capacity.as_ref().and_then(|searched| AxisId::named(&searched.over));
    let case_of = |block: &BlockRecord| searched.map_or(block.case.tag(), |axis| block.case.without(axis).tag());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen: HashSet<(String, u32)> = HashSet::new();
    let blocks: Vec<BlockRecord> = blocks
        .into_iter()
        .filter(|block| {
            let tag = case_of(block);
            let is_kept = has(&tag, block.block as usize) && seen.insert((tag, block.block));
            *counts.entry(block.case.tag()).or_default() += usize::from(is_kept);
            is_kept
        })
        .collect();
    rewrite(&run.join(BLOCKS), &record::lines(&blocks, true)?)?;

    let measured = |tag: &String| going.measured.0.contains_key(tag);
    prune_parts(&run.join(HOSTS), measured, |row: &HostRecord| (row.case.tag(), row.host.clone()))?;
    prune_parts(&run.join(STAGES), measured, |row: &StageRecord| (row.case.tag(), row.stage))?;

    // none of them is repeated; a last line that was torn must not be added to
    let starts: Vec<ColdStartRecord> = record::read_if_any(&run.join(COLD_STARTS))?.rows;
    rewrite(&run.join(COLD_STARTS), &record::lines(&starts, true)?)?;

    let histograms = std::fs::read(run.join(HISTOGRAMS)).unwrap_or_default();
    rewrite(
        &run.join(HISTOGRAMS),
        &record::latencies::first_blocks(&histograms, |tag| counts.get(tag).copied().unwrap_or(0)),
    )?;

    let requests = run.join(REQUESTS);
    if requests.exists() {
        request_rows::prune(&requests, has)?;
    }

    let metrics = run.join(METRICS);
    if metrics.exists() {
        let rows = record::read_whole_rows::<MetricRow>(&metrics)?;
        if rows.torn {
            file::replace(&metrics, &record::lines(&rows.rows, true)?)?;
        }
    }
    Ok(())
}

/// Takes the parts of cases out of a file that are not measured; `key` tells the case, and which part it is.
fn prune_parts<T: Row, K: Eq + Hash>(
    path: &Path,
    measured: impl Fn(&String) -> bool,
    key: impl Fn(&T) -> (String, K),
) -> Result<()> {
    let mut seen: HashSet<(String, K)> = HashSet::new();
    let mut rows: Vec<T> = record::read_if_any(path)?.rows;
    // a case that was begun again has them twice: the last are those of its row
    rows.reverse();
    rows.retain(|row| {
        let key = key(row);
        measured(&key.0) && seen.insert(key)
    });
    rows.reverse();
    rewrite(path, &record::lines(&rows, true)?)
}

/// Replaces a file, if there is one.
fn rewrite(path: &Path, bytes: &[u8]) -> Result<()> {
    match path.exists() {
        true => file::replace(path, bytes),
        false => Ok(()),
    }
}

/// Puts the rows of a run that was taken up again into the order of its plan.
///
/// # Errors
/// The rows cannot be read or written.
pub fn in_order(run: &Path, plan: &Plan) -> Result<()> {
    let path = run.join(RECORDS);
    let mut rows = record::read::<Record>(&path)?;
    let places: HashMap<String, usize> = plan.cases().map(Point::tag).zip(0..).collect();
    rows.sort_by_key(|row| places.get(&row.case.tag()).copied());
    file::replace(&path, &record::lines(&rows, true)?)
}
