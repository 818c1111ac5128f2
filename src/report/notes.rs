//! The notes below the tables of a run: how it was measured, what the marks mean, and what is wrong with it.

use std::fmt::Write;

use super::metric::Metric;
use super::run::Run;
use super::verdicts::{Compared, is_trusted, least_delta};
use super::words::{
    blocks_words, code, distinct, escaped, length_words, loop_words, range_words, status_words, weights_words,
};
use crate::matrix::{self, AxisId, Describer, Encode};
use crate::record::{Flag, Record, Status};
use crate::statistics::{ALPHA, BEYOND, DELTA, Verdict};
use crate::tensor::Tensors;

/// All notes of a run, a line each.
pub fn notes(run: &Run, cells: &[Compared<'_>]) -> String {
    let manifest = &run.manifest;
    let mut out = String::new();
    measured(&mut out, run);
    marks(&mut out, run, cells);
    if let Some(counts) = manifest.counts.filter(|counts| !counts.agrees()) {
        let _ = writeln!(
            out,
            "- The server counted {} inferences, the client {} and {} to warm up: others asked the model, or answers were lost.",
            counts.server, counts.measured, counts.prepared,
        );
    }
    if !manifest.statistics.is_empty() {
        let _ = writeln!(out, "- Statistics of the server's own: none ({}).", escaped(&manifest.statistics));
    }
    doubts(&mut out, run);
    for record in run.records.iter().filter(|record| record.status != Status::Ok) {
        let _ = writeln!(
            out,
            "- {}: {}: {}{}",
            record.case.phrase(),
            status_words(record.status),
            if record.error_kinds.is_empty() {
                String::new()
            } else {
                format!("{} ", escaped(&record.error_kinds.to_string()))
            },
            escaped(&record.reason),
        );
    }
    for file in &run.torn {
        let _ = writeln!(out, "- The last line of {} is torn (a crash, a full disk) and left out.", code(file));
    }
    let _ = writeln!(out, "- Client: {}.", escaped(&manifest.client.summary()));
    let _ = writeln!(
        out,
        "- Rows: {}, runner {} ({}).",
        code(&run.path.join(crate::record::RECORDS).display().to_string().replace('\\', "/")),
        escaped(&manifest.runner_version),
        escaped(&manifest.git_revision),
    );
    out
}

/// What was requested of which server, and how.
fn measured(out: &mut String, run: &Run) {
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
        let (server, version, weights) = (escaped(server), escaped(version), escaped(weights_words(weights)));
        let _ = writeln!(out, "- {server} {version}, model {}; weights: {weights}.", code(model));
    }
    let protocols = distinct(&run.records, |record| record.case.protocol).into_iter().map(matrix::protocol);
    let protocols = protocols.collect::<Vec<_>>().join(" and ");
    let values = distinct(&run.records, |record| (run.compared.axis().phrase)(&record.case));
    let interleaved = match run.compared {
        AxisId::Protocol | AxisId::Arm if protocols.contains(" and ") => format!("{protocols} interleaved"),
        AxisId::Protocol | AxisId::Arm => protocols,
        _ => format!("{protocols}; {} interleaved", values.join(", ")),
    };
    let arrivals = distinct(&run.records, |record| record.arrival);
    let _ = writeln!(
        out,
        "- {}, {} before them to warm up; {interleaved} in {} blocks; {}.",
        length_words(manifest.iterations, manifest.duration_s),
        manifest.warmup,
        blocks_words(run),
        arrivals.iter().map(|arrival| loop_words(*arrival)).collect::<Vec<_>>().join(" and "),
    );
    if !matches!(run.compared, AxisId::Protocol | AxisId::Arm) && values.len() > 1 {
        let _ = writeln!(
            out,
            "- Compared: {}; the baseline is {}.",
            run.compared.axis().parameter.to_lowercase(),
            values[0]
        );
    }
    if run.records.iter().any(|record| record.described_by == Describer::Server) {
        let _ = writeln!(out, "- Inputs and outputs are those of the server's metadata; inputs are zeros.");
    }
    if run.records.iter().any(|record| record.tensors == Some(Tensors::Json)) {
        let _ = writeln!(
            out,
            "- Tensors over HTTP are JSON: the server takes no binary ones. Over gRPC they are raw bytes."
        );
    }
    if run.records.iter().any(|record| record.case.encode == Encode::EachRequest) {
        let _ = writeln!(out, "- Requests are encoded one by one, within their latency, as a client library does.");
    }
    if let (Some(cap), false) = (manifest.cap_s, run.records.is_empty()) {
        let quick = if manifest.quick { "Quick run: a" } else { "A" };
        let requests = range_words(run.records.iter().map(|record| record.requests));
        let _ = writeln!(out, "- {quick} case ends after about {cap} s; {requests} requests a case.");
    }
    if !manifest.overridden.is_empty() {
        let _ = writeln!(out, "- Changed on the command line: {}.", code(&manifest.overridden.join(" ")));
    }
}

/// What bold means, and which numbers are rough.
fn marks(out: &mut String, run: &Run, cells: &[Compared<'_>]) {
    rough(out, run, 0.95, |record| record.p95_ms);
    rough(out, run, 0.99, |record| record.p99_ms.filter(|_| record.case.rate.is_some()));
    if cells.is_empty() {
        return;
    }
    let percent = 100.0 * DELTA;
    let alpha = 100.0 * ALPHA;
    let _ = writeln!(
        out,
        "- Bold: lower beyond chance and by more than {percent} %: 95 % interval of the ratio by the paired jackknife \
         over blocks; exact sign-flip test, Holm's correction, {alpha} % a table.",
    );
    if cells.iter().any(|cell| cell.ratio.is_some() && !cell.pooled) {
        let _ = writeln!(
            out,
            "- Where the run's files lack the blocks' histograms, 95th percentiles are compared by the mean of the blocks' \
             ratios, which need not be the ratio of the two that are shown."
        );
    }
    if run.records.iter().any(|record| record.case.arm.is_some()) {
        let known = cells.iter().filter(|cell| cell.ratio.is_some() && cell.verdict.is_some());
        let is_wrong = |cell: &&Compared<'_>| matches!(cell.verdict, Some(Verdict::Faster | Verdict::Slower));
        let wrong = known.clone().filter(is_wrong).count();
        let _ = writeln!(
            out,
            "- A and B are the same: of {} compared numbers {wrong} are called different, which is wrong; with a \
             threshold of {:.2} % none would have been.",
            known.count(),
            100.0 * least_delta(cells),
        );
    } else if cells.iter().all(|cell| cell.metric != Metric::Mean || cell.ratio.is_none()) {
        let _ = writeln!(
            out,
            "- Nothing could be compared: it takes two paired blocks without errors, and 6 for a verdict."
        );
    }
}

/// The cases whose requests are too few for a percentile that tables show.
fn rough(out: &mut String, run: &Run, q: f64, value: impl Fn(&Record) -> Option<f64>) {
    let shown: Vec<&Record> = run.records.iter().filter(|record| value(record).is_some()).collect();
    let rough = shown.iter().filter(|record| !is_trusted(record, q)).count();
    let cases = match rough {
        0 => return,
        all if all == shown.len() => "every case".to_owned(),
        some => format!("{some} of {} cases", shown.len()),
    };
    let _ = writeln!(
        out,
        "- Fewer than {:.0} independent requests in {cases}: their {:.0}th percentiles are rough, and not compared.",
        BEYOND / (1.0 - q),
        100.0 * q,
    );
}

/// The flags of rows; a flag that several rows share is reported once.
fn doubts(out: &mut String, run: &Run) {
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
        let _ = writeln!(out, "- {cases}: {words}.");
    }
    for record in &run.records {
        of_row(out, record);
    }
}

/// Flags whose notes have their own numbers.
fn of_row(out: &mut String, record: &Record) {
    if let (true, Some(ceiling)) = (record.flags.has(Flag::ClientCeiling), record.client_ceiling_per_s) {
        let _ = writeln!(
            out,
            "- {}: {:.1} requests/s, and the client reaches {ceiling:.1} where a server answers at once: the client may be \
             the bottleneck.",
            record.case.phrase(),
            record.requests_per_s.unwrap_or_default(),
        );
    }
    if let Some(held_back) = record.held_back.filter(|held_back| *held_back > 0) {
        let _ = writeln!(
            out,
            "- {}: {held_back} requests were sent late because {} were in flight; their response times say so.",
            record.case.phrase(),
            record.case.concurrency,
        );
    }
}
