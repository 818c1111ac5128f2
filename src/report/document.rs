//! `runner report --splice`: regenerates the sections of a document, each from the run that it should show.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::choose::{self, Choice};
use super::splice::Document;
use super::{Run, Wanted, terminal};
use crate::file;
use crate::record::RECORDS;

/// Start of the last line of a section's notes, which names the run's rows.
const ROWS: &str = "- Rows: `";

/// Puts the sections of runs between a document's markers. Runs whose folders are named replace those shown for their
/// scenarios; otherwise a section keeps its run until a newer one exists that is no less. The marker itself names its
/// section. Returns whether all scenarios that have runs could be shown, and prints everything unexpected.
///
/// # Errors
/// A run cannot be found or read, the document's markers are broken, or it cannot be written; it is then unchanged.
pub fn splice(wanted: &Wanted, document: &Path, results: &Path) -> Result<bool> {
    let text = file::read_text(document)?;
    let name = document.display();
    let parsed = Document::parse(&text).with_context(|| name.to_string())?;
    let mut sections = Vec::new();
    for section in parsed.sections() {
        let mut asked = Wanted::of_marker(&section.words).with_context(|| format!("{name}: line {}", section.line))?;
        asked.style.intervals |= wanted.style.intervals;
        sections.push((asked, shown_in(section.old)));
    }
    let runs = Runs::new(wanted, results, document, &sections)?;
    let mut asked = sections.iter();
    let made = parsed.rendered(|section| {
        let (asked, shown) = asked.next().context("a section more than there were")?;
        let words = if asked.runs.is_empty() {
            runs.scenarios(&section.words, shown)?
        } else {
            asked.runs.clone()
        };
        let told = words.iter().filter_map(|word| match runs.of(word) {
            // if nobody named the scenarios, the others are shown
            Err(error) if asked.runs.is_empty() => {
                runs.missing.borrow_mut().insert(word.clone(), format!("{error:#}"));
                None
            }
            run => Some(
                run.and_then(|run| asked.section.of(&run, asked.style, document.parent().unwrap_or(Path::new("")))),
            ),
        });
        Ok(told.collect::<Result<Vec<String>>>()?.join("\n"))
    });
    let made = made.with_context(|| name.to_string())?;
    runs.all_named_are_shown()?;
    if made != text {
        file::rewrite(document, made.as_bytes())?;
    }
    let missing = runs.say();
    parsed.skipped.iter().for_each(|words| terminal::say(&format!("{name}: {words}")));
    terminal::say(&format!("{name}: {}", if made == text { "nothing to change" } else { "sections made again" }));
    Ok(!missing)
}

/// The runs of a document, one for each scenario, so that sections do not contradict each other.
struct Runs<'a> {
    results: &'a Path,
    document: &'a Path,
    /// Runs whose folders are named on the command line, by scenario.
    named: BTreeMap<String, Run>,
    /// The newest folder of each scenario that the document shows now.
    shown: BTreeMap<String, PathBuf>,
    chosen: RefCell<BTreeMap<String, Choice>>,
    missing: RefCell<BTreeMap<String, String>>,
}

impl<'a> Runs<'a> {
    fn new(
        wanted: &Wanted,
        results: &'a Path,
        document: &'a Path,
        sections: &[(Wanted, Vec<PathBuf>)],
    ) -> Result<Self> {
        let mut named = BTreeMap::new();
        for word in &wanted.runs {
            let run = choose::find(results, word)?.run;
            if choose::is_folder(word) {
                named.insert(run.manifest.scenario.clone(), run);
            }
        }
        let mut shown = BTreeMap::new();
        for (asked, paths) in sections {
            for path in paths {
                let Some(scenario) = scenario_of(path) else { continue };
                // a marker that names a folder does not speak for others
                if asked.runs.is_empty() || asked.runs.contains(&scenario) {
                    let newest = shown.entry(scenario).or_insert_with(|| path.clone());
                    if path.file_name() > newest.file_name() {
                        newest.clone_from(path);
                    }
                }
            }
        }
        let (chosen, missing) = (RefCell::default(), RefCell::default());
        Ok(Runs { results, document, named, shown, chosen, missing })
    }

    /// The run that a marker's word names.
    fn of(&self, word: &str) -> Result<Run> {
        if choose::is_folder(word) {
            return Run::open(Path::new(word));
        }
        if let Some(choice) = self.chosen.borrow().get(word) {
            return Ok(choice.run.clone());
        }
        let choice = match (self.named.get(word), self.shown.get(word)) {
            (Some(run), _) => Choice { run: run.clone(), notes: Vec::new() },
            (None, Some(shown)) => choose::successor(self.results, word, shown, self.document)?,
            (None, None) => choose::find(self.results, word)?,
        };
        let run = choice.run.clone();
        self.chosen.borrow_mut().insert(word.to_owned(), choice);
        Ok(run)
    }

    /// The scenarios of a marker that names none: all that have runs. Fails if one in `shown` has none left.
    fn scenarios(&self, words: &[&str], shown: &[PathBuf]) -> Result<Vec<String>> {
        let mut all = choose::scenarios(self.results)?;
        all.extend(
            self.named
                .keys()
                .filter(|scenario| !all.contains(scenario))
                .cloned()
                .collect::<Vec<_>>(),
        );
        all.sort();
        let gone = shown
            .iter()
            .find(|path| scenario_of(path).is_some_and(|scenario| !all.contains(&scenario)));
        if let Some(gone) = gone {
            let marker = ["runner report", &words.join(" ")].join(" ");
            anyhow::bail!(
                "{} is shown, and there are no results of its scenario any more: put them back, or name the scenarios in \
                 the marker, as in `<!-- BEGIN: {} NAME -->`",
                gone.display(),
                marker.trim_end(),
            );
        }
        Ok(all)
    }

    /// Every run named on the command line must be shown somewhere.
    fn all_named_are_shown(&self) -> Result<()> {
        for (scenario, run) in &self.named {
            ensure!(
                self.chosen.borrow().contains_key(scenario),
                "{}: no marker asks for \"{scenario}\", of which {} is a run: add one, or leave the run out",
                self.document.display(),
                run.path.display(),
            );
        }
        Ok(())
    }

    /// Prints which run each scenario has now, if that is new, and returns whether one is missing.
    fn say(&self) -> bool {
        let document = self.document.display();
        for (scenario, Choice { run, notes }) in &*self.chosen.borrow() {
            let path = run.path.display();
            match self.shown.get(scenario) {
                Some(before) if before.file_name() == run.path.file_name() => {}
                Some(before) => terminal::say(&format!("{document}: {path} takes the place of {}", before.display())),
                None => terminal::say(&format!("{document}: {path} is shown")),
            }
            notes.iter().for_each(|note| terminal::say(&format!("{document}: {note}")));
        }
        let missing = self.missing.borrow();
        missing
            .values()
            .for_each(|words| terminal::say(&format!("{document}: left out: {words}")));
        !missing.is_empty()
    }
}

/// The folders of the runs that a section shows, from its notes.
fn shown_in(section: &str) -> Vec<PathBuf> {
    let rows = section.lines().filter_map(|line| line.strip_prefix(ROWS)?.split('`').next());
    rows.filter_map(|path| Some(Path::new(path.strip_suffix(RECORDS)?.strip_suffix('/')?).to_owned()))
        .collect()
}

/// The scenario of a run's folder.
fn scenario_of(path: &Path) -> Option<String> {
    Some(path.parent()?.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_says_which_runs_it_shows() {
        let section = "- Client: x.\n- Rows: `results/a/T1/records.csv`, runner 0.1.0 (abc).\r\n\n- Rows: `/x/b/T2/records.csv`, r\n- Rows: x\n";
        let shown = shown_in(section);
        assert_eq!(shown, [Path::new("results/a/T1"), Path::new("/x/b/T2")]);
        assert_eq!(shown.iter().filter_map(|path| scenario_of(path)).collect::<Vec<_>>(), ["a", "b"]);
    }
}
