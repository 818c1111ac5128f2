//! The notes below the tables of a run: how it was measured, what the marks mean, and what is wrong with it.

use super::metric::Metric;
use super::run::Run;
use super::verdicts::{Compared, is_trusted, least_delta};
use super::words::{
    Markup, blocks_words, distinct, length_words, loop_words, range_words, status_words, warmup_words, weights_words,
};
use super::{capacity, hosts, knee};
use crate::matrix::{self, AxisId, Describer, Encode};
use crate::record::{Flag, Record, Status};
use crate::spelling::spelled;
use crate::statistics::{ALPHA, BEYOND, DELTA, Verdict};
use crate::tensor::Tensors;

spelled! {
    /// What a note is about.
    pub enum About {
        /// How it was measured.
        Method = "method",
        /// How to read the numbers.
        Reading = "reading",
        /// Why numbers may be doubted.
        Doubt = "doubt",
        /// What went wrong.
        Failure = "failure",
        /// Where the numbers come from.
        Source = "source",
    }
}

/// A note: one line, without a bullet.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// Its text.
    pub text: String,
}

/// The notes as they are written.
struct Notes {
    markup: Markup,
    all: Vec<Note>,
}

impl Notes {
    fn add(&mut self, about: About, text: impl Into<String>) {
        self.all.push(Note { about, text: text.into() });
    }
}

/// All notes of a run.
pub fn notes(run: &Run, cells: &[Compared<'_>], markup: Markup) -> Vec<Note> {
    let manifest = &run.manifest;
    let mut out = Notes { markup, all: Vec::new() };
    measured(&mut out, run);
    marks(&mut out, run, cells);
    if let Some(counts) = manifest.counts.filter(|counts| !counts.agrees()) {
        out.add(About::Doubt, format!("The server counted {} inferences, the client {} and {} to warm up: others asked the model, or answers were lost.",
            counts.server, counts.measured, counts.prepared));
    }
    if !manifest.statistics.is_empty() {
        out.add(
            About::Method,
            format!("Statistics of the server's own: none ({}).", out.markup.text(&manifest.statistics)),
        );
    }
    if !manifest.parameters.is_empty() {
        let all: Vec<String> = manifest.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        out.add(About::Method, format!("Parameters of every request: {}.", out.markup.code(&all.join(", "))));
    }
    for resumed in &manifest.resumed {
        let differs = match resumed.differs.is_empty() {
            true => "all as before".to_owned(),
            false => out.markup.text(&resumed.differs.join("; ")),
        };
        out.add(About::Method, format!("Taken up again at {}: {differs}.", resumed.time));
    }
    doubts(&mut out, run);
    for record in run.records.iter().filter(|record| record.status != Status::Ok) {
        out.add(
            About::Failure,
            format!(
                "{}: {}: {}{}",
                record.case.phrase(),
                status_words(record.status),
                if record.error_kinds.is_empty() {
                    String::new()
                } else {
                    format!("{} ", out.markup.text(&record.error_kinds.to_string()))
                },
                out.markup.text(&record.reason)
            ),
        );
    }
    for file in &run.torn {
        out.add(
            About::Doubt,
            format!("The last line of {} is torn (a crash, a full disk) and left out.", out.markup.code(file)),
        );
    }
    // with other hosts it may have sent nothing itself
    let role = if manifest.hosts.is_empty() { "Client" } else { "Leader" };
    out.add(About::Source, format!("{role}: {}.", out.markup.text(&manifest.client.summary())));
    out.add(About::Source, rows_words(run, markup));
    out.all
}

/// Where the rows are, and what wrote them.
pub fn rows_words(run: &Run, markup: Markup) -> String {
    let rows = run.path.join(crate::record::RECORDS).display().to_string().replace('\\', "/");
    format!(
        "Rows: {}, runner {} ({}).",
        markup.code(&rows),
        markup.text(&run.manifest.runner_version),
        markup.text(&run.manifest.git_revision)
    )
}

/// What was requested of which server, and how.
fn measured(out: &mut Notes, run: &Run) {
    let manifest = &run.manifest;
    let told = |record: &Record| {
        let Record { server, server_version, model, weights, .. } = record;
        [server, server_version, model, weights].map(String::clone)
    };
    let whole = || [&manifest.server, &manifest.server_version, &manifest.model, &manifest.weights].map(String::clone);
    let mut asked = distinct(&run.records, told);
    if asked.len() < 2 {
        asked = vec![whole()];
    }
    for [server, version, model, weights] in &asked {
        let (server, version, weights) =
            (out.markup.text(server), out.markup.text(version), out.markup.text(weights_words(weights)));
        out.add(About::Method, format!("{server} {version}, model {}; weights: {weights}.", out.markup.code(model)));
    }
    let protocols = distinct(&run.records, |record| record.case.protocol).into_iter().map(matrix::protocol);
    let protocols = protocols.collect::<Vec<_>>().join(" and ");
    let values = distinct(&run.records, |record| run.value_of(record));
    let interleaved = match run.compared {
        AxisId::Protocol | AxisId::Arm if protocols.contains(" and ") => format!("{protocols} interleaved"),
        AxisId::Protocol | AxisId::Arm => protocols,
        _ => format!("{protocols}; {} interleaved", values.join(", ")),
    };
    let arrivals = distinct(&run.records, |record| (record.arrival, out.markup.text(&record.arrival_detail)));
    let (warmup, until) = warmup_words(manifest.warmup, manifest.warmup_s, manifest.warmup_until);
    out.add(
        About::Method,
        format!(
            "{}, {} before them to warm up{until}; {interleaved} in {} blocks; {}.",
            capacity::length_words(run).unwrap_or_else(|| length_words(
                manifest.iterations,
                manifest.duration_s,
                manifest.precision
            )),
            warmup,
            blocks_words(run),
            arrivals
                .iter()
                .map(|(arrival, detail)| loop_words(*arrival, detail))
                .collect::<Vec<_>>()
                .join(" and ")
        ),
    );
    if !matches!(run.compared, AxisId::Protocol | AxisId::Arm) && values.len() > 1 {
        out.add(
            About::Method,
            format!("Compared: {}; the baseline is {}.", run.compared.axis().parameter.to_lowercase(), values[0]),
        );
    }
    if run.records.iter().any(|record| record.described_by == Describer::Server) {
        out.add(About::Method, "Inputs and outputs are those of the server's metadata; inputs are zeros.");
    }
    if run.records.iter().any(|record| record.tensors == Some(Tensors::Json)) {
        out.add(
            About::Method,
            "Tensors over HTTP are JSON: the server takes no binary ones. Over gRPC they are raw bytes.",
        );
    }
    if run.records.iter().any(|record| record.case.encode == Encode::EachRequest) {
        out.add(About::Method, "Requests are encoded one by one, within their latency, as a client library does.");
    }
    if let (Some(cap), false) = (manifest.cap_s, run.records.is_empty()) {
        let quick = if manifest.quick { "Quick run: a" } else { "A" };
        let requests = range_words(run.records.iter().map(|record| record.requests));
        out.add(About::Method, format!("{quick} case ends after about {cap} s; {requests} requests a case."));
    }
    if let Some(words) = hosts::words(run) {
        out.add(About::Method, out.markup.text(&words));
    }
    if !manifest.overridden.is_empty() {
        out.add(
            About::Method,
            format!("Changed on the command line: {}.", out.markup.code(&manifest.overridden.join(" "))),
        );
    }
}

/// What bold means, and which numbers are rough.
fn marks(out: &mut Notes, run: &Run, cells: &[Compared<'_>]) {
    rough(out, run, 0.95, |record| record.p95_ms);
    rough(out, run, 0.99, |record| record.p99_ms.filter(|_| record.case.rate.is_some()));
    for knee in knee::told(run) {
        out.add(About::Reading, out.markup.text(&knee));
    }
    if capacity::is_searched(run) {
        out.add(
            About::Reading,
            "Intervals are of 95 %: a line of the share of requests that break the bound over the rate, fitted to whole blocks around \
             the edge.",
        );
    }
    if cells.is_empty() {
        return;
    }
    if cells.iter().any(|cell| cell.ratio.is_some()) {
        out.add(About::Reading, "Intervals are of 95 %, by the paired jackknife over blocks.");
    }
    if cells.iter().any(|cell| matches!(cell.verdict, Some(Verdict::Faster | Verdict::Slower))) {
        out.add(
            About::Reading,
            format!(
                "Bold: lower by more than {} % and beyond chance: exact sign-flip test, Holm's correction, {} % a table.",
                100.0 * DELTA,
                100.0 * ALPHA
            ),
        );
    }
    if cells.iter().any(|cell| cell.ratio.is_some() && !cell.pooled) {
        out.add(About::Reading, "Where the run's files lack the blocks' histograms, 95th percentiles are compared by the mean of the blocks' \
             ratios, which need not be the ratio of the two that are shown.");
    }
    if run.records.iter().any(|record| record.case.arm.is_some()) {
        let known = cells.iter().filter(|cell| cell.ratio.is_some() && cell.verdict.is_some());
        let is_wrong = |cell: &&Compared<'_>| matches!(cell.verdict, Some(Verdict::Faster | Verdict::Slower));
        let wrong = known.clone().filter(is_wrong).count();
        out.add(
            About::Reading,
            format!(
                "A and B are the same: of {} compared numbers {wrong} are called different, which is wrong; with a \
             threshold of {:.2} % none would have been.",
                known.count(),
                100.0 * least_delta(cells)
            ),
        );
    } else if cells.iter().all(|cell| cell.metric != Metric::Mean || cell.ratio.is_none()) {
        out.add(
            About::Reading,
            "Nothing could be compared: it takes two paired blocks without errors, and 6 for a verdict.",
        );
    }
}

/// The cases whose requests are too few for a percentile that tables show.
fn rough(out: &mut Notes, run: &Run, q: f64, value: impl Fn(&Record) -> Option<f64>) {
    let shown: Vec<&Record> = run.records.iter().filter(|record| value(record).is_some()).collect();
    let rough = shown.iter().filter(|record| !is_trusted(record, q)).count();
    let cases = match rough {
        0 => return,
        all if all == shown.len() => "every case".to_owned(),
        some => format!("{some} of {} cases", shown.len()),
    };
    out.add(
        About::Reading,
        format!(
            "Fewer than {:.0} independent requests in {cases}: their {:.0}th percentiles are rough, and not compared.",
            BEYOND / (1.0 - q),
            100.0 * q
        ),
    );
}

/// The flags of rows; a flag that several rows share is reported once.
fn doubts(out: &mut Notes, run: &Run) {
    let said = Flag::ALL.iter().filter_map(|(_, flag)| Some((*flag, flag.sentence()?)));
    for (flag, words) in said {
        let flagged: Vec<&Record> = run.records.iter().filter(|record| record.flags.has(flag)).collect();
        let cases = match flagged.len() {
            0 => continue,
            // a quick run reports it anyway
            _ if flag == Flag::Capped && run.manifest.quick => continue,
            all if all == run.records.len() => "Every case".to_owned(),
            _ => flagged.into_iter().map(|record| record.case.phrase()).collect::<Vec<_>>().join("; "),
        };
        out.add(About::Doubt, format!("{cases}: {words}."));
    }
    for record in &run.records {
        of_row(out, record);
    }
}

/// Flags whose notes have their own numbers.
fn of_row(out: &mut Notes, record: &Record) {
    if let (true, Some(ceiling)) = (record.flags.has(Flag::ClientCeiling), record.client_ceiling_per_s) {
        out.add(About::Doubt, format!("{}: {:.1} requests/s, and the client reaches {ceiling:.1} where a server answers at once: the client may be \
             the bottleneck.",
            record.case.phrase(),
            record.requests_per_s.or(record.capacity_per_s).unwrap_or_default()));
    }
    if let Some(held_back) = record.held_back.filter(|held_back| *held_back > 0) {
        out.add(
            About::Doubt,
            format!(
                "{}: {held_back} requests were sent late because {} were in flight; their response times say so.",
                record.case.phrase(),
                record.case.concurrency
            ),
        );
    }
    let requests = record.requests + record.errors;
    if let Some(logged) = record.requests_logged.filter(|logged| *logged < requests) {
        out.add(
            About::Doubt,
            format!(
                "{}: {} has {logged} of {requests} requests: of each block the first that a process has memory for. All are in the \
                 other numbers.",
                record.case.phrase(),
                out.markup.code(crate::record::REQUESTS)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::Flags;
    use crate::report::tables;

    fn told(change: impl Fn(&mut Run)) -> Vec<Note> {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        change(&mut run);
        let tables = tables::of(&run);
        notes(&run, &tables::cells(&tables), Markup::Plain)
    }

    fn count(notes: &[Note], words: &str) -> usize {
        notes.iter().filter(|note| note.text.contains(words)).count()
    }

    #[test]
    fn a_row_s_own_numbers_are_told() {
        let late = "requests were sent late because";
        assert_eq!(count(&told(|run| run.records[0].held_back = Some(7)), &format!("7 {late} 1 were in flight")), 1);
        assert_eq!(count(&told(|run| run.records[0].held_back = Some(0)), late), 0);
        let ceiling = "requests/s, and the client reaches 9.5 where a server answers at once";
        let flag = |run: &mut Run, flags: Flags| {
            (run.records[0].client_ceiling_per_s, run.records[0].flags) = (Some(9.5), flags);
        };
        assert_eq!(count(&told(|run| flag(run, Flags::raised([(Flag::ClientCeiling, true)]))), ceiling), 1);
        assert_eq!(count(&told(|run| flag(run, Flags::default())), ceiling), 0);
    }

    #[test]
    fn requests_without_a_row_are_told() {
        let words = "requests.csv has ";
        let logged = |less: Option<u64>| {
            move |run: &mut Run| {
                let row = &mut run.records[0];
                row.requests_logged = less.map(|less| row.requests + row.errors - less);
            }
        };
        assert_eq!(count(&told(logged(Some(3))), words), 1);
        assert_eq!(count(&told(logged(Some(0))), words), 0);
        assert_eq!(count(&told(logged(None)), words), 0);
    }

    #[test]
    fn a_quick_run_does_not_tell_of_every_case_that_it_ended_early() {
        let capped = |run: &mut Run, quick: bool| {
            run.manifest.quick = quick;
            run.records.iter_mut().for_each(|row| row.flags = Flags::raised([(Flag::Capped, true)]));
        };
        let words = Flag::Capped.sentence().unwrap();
        assert_eq!(count(&told(|run| capped(run, false)), words), 1);
        assert_eq!(count(&told(|run| capped(run, true)), words), 0);
        // other flags are told of quick runs too
        let drifting = |run: &mut Run| {
            run.manifest.quick = true;
            run.records[0].flags = Flags::raised([(Flag::Drift, true)]);
        };
        assert_eq!(count(&told(drifting), Flag::Drift.sentence().unwrap()), 1);
    }

    #[test]
    fn percentiles_of_too_few_requests_are_told() {
        let effective = |run: &mut Run, rough: usize| {
            for (index, row) in run.records.iter_mut().enumerate() {
                row.effective_requests = Some(if index < rough { 199.0 } else { 200.0 });
            }
        };
        let words = "Fewer than 200 independent requests in ";
        assert_eq!(count(&told(|run| effective(run, 0)), words), 0);
        assert_eq!(count(&told(|run| effective(run, 5)), &format!("{words}5 of 12 cases")), 1);
        assert_eq!(count(&told(|run| effective(run, 12)), &format!("{words}every case")), 1);
    }

    #[test]
    fn every_server_of_several_is_named() {
        let two = told(|run| run.records[0].server_version = "2.99".to_owned());
        assert_eq!(count(&two, "triton 2.51.0, model scrfd"), 1);
        assert_eq!(count(&two, "triton 2.99, model scrfd"), 1);
    }

    #[test]
    fn that_nothing_could_be_compared_is_told() {
        let words = "Nothing could be compared";
        assert_eq!(count(&told(|_| {}), words), 0);
        assert_eq!(count(&told(|run| run.blocks = crate::report::Blocks::default()), words), 1);
    }
}
