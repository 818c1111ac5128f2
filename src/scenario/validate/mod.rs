//! From the file's tree to a [`Scenario`]: limits, defaults and consistency. This file has the model and its tensors;
//! the matrix and the load have their own files.

mod arrival;
mod bounds;
mod capacity;
mod hosts;
mod load;
mod matrix;
mod mlperf;
mod parameters;
mod server;
mod targets;

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Document, Errors, ScenarioError};
use super::tree::{self, Table};
use super::words::known;
use super::{
    ArrivalProcess, Artifact, Assert, GRPC_PORT, HTTP_PORT, Input, METRICS_PORT, Model, ModelTarget, Output, Scenario,
    Server, distinct as distinct_requests, schema, shapes, syntax,
};
use crate::matrix::{AxisId, Matrix, Value};
use crate::tensor::{Datatype, Expect, Items, Reference, Source};
use crate::threshold::Threshold;

type Checked<T> = Result<T, ScenarioError>;

use server::server;

pub(super) use load::{DURATION_S, ITERATIONS, WARMUP, precision};

const SEED: RangeInclusive<i64> = 0..=i64::MAX;
const DIMENSION: RangeInclusive<i64> = 1..=i64::MAX;
const TOLERANCE: RangeInclusive<f64> = 0.0..=1e9;

/// The parsed matrix, and its table in the file.
struct Axes<'a> {
    table: &'a Table<'a>,
    /// `None` if it has an error.
    matrix: Option<&'a Matrix>,
    /// Where the file gives the numbers of distinct requests.
    distinct: Option<Range<usize>>,
}

/// # Errors
/// All errors of the first kind found: invalid TOML, violations of the format, or exceeded limits and contradictions.
pub(super) fn scenario(document: &Document<'_>) -> Checked<Scenario> {
    let (file, errors) = DeTable::parse_recoverable(document.text);
    syntax::explain_all(document, &errors)?;
    schema::check(document, &file)?;

    let file = Table::of(&file);
    let (matrix_table, load_table) = (file.table("matrix"), file.table("load"));
    let mut errors = Errors::default();
    let title = errors.keep(name(document, &file, "title"));
    let mlperf = mlperf::mlperf(document, &file, &mut errors);
    let rules = mlperf.as_ref().and_then(Option::as_ref);
    let is_searched = file.value("capacity").is_some();
    let arrival = errors.keep(arrival::arrival(document, &load_table, is_searched));
    let mean_rate = arrival.as_ref().and_then(ArrivalProcess::mean_rate);
    let matrix = matrix::matrix(document, &matrix_table, &load_table, (rules, mean_rate), &mut errors);
    let distinct = load_table.value(AxisId::Distinct.axis().key).map(Spanned::span);
    let axes = Axes { table: &matrix_table, matrix: matrix.as_ref(), distinct };
    let servers = targets::servers(document, &file, &axes, &mut errors);
    let (first, models) = targets::models(document, &file, &axes, &mut errors).unzip();
    let unbatched = |model: &Model| !model.batching;
    let of_models = models.iter().flatten().map(|(_, target): &(_, ModelTarget)| &target.model);
    if of_models.chain(first.as_ref().map(|first: &ModelTarget| &first.model)).any(unbatched) {
        errors.keep(batches_fit(document, &matrix_table));
    }
    let server = server(document, &file.table("server"), &mut errors);
    let load = load::load(document, &load_table, (arrival.as_ref(), is_searched), &mut errors);
    if let (false, Some(load)) = (is_searched, &load) {
        errors.keep(load::warms_up_in_time(document, &load_table, load));
    }
    let hosts = hosts::hosts(document, &file.table("hosts"), &mut errors);
    if let (true, Some(rules)) = (is_searched, file.value("mlperf")) {
        let help = "leave one of the two tables out: MLPerf's rules search for nothing";
        errors.push(document.error(rules.span(), "[mlperf] beside [capacity]", help));
    }
    let tables = (&matrix_table, &load_table);
    let capacity = is_searched
        .then(|| capacity::capacity(document, &file.table("capacity"), tables, &mut errors))
        .flatten();
    let parameters = errors.keep(parameters::parameters(document, &file.table("parameters")));
    let served = first.as_ref().map_or(&[][..], |first| &first.outputs);
    let asserts = matrix.as_ref().map(|matrix| asserts(document, &file, matrix, &mut errors));
    let given = file.value("artifact").is_some();
    let served: Vec<&str> = served.iter().map(|output| output.name.as_str()).collect();
    let artifact = given.then(|| artifact(document, &file.table("artifact"), &served)).transpose();
    let artifact = errors.keep(artifact);
    // the errors explain why one is missing
    let read = || {
        let ModelTarget { model, inputs, outputs } = first?;
        let mut scenario = Scenario {
            name: safe_name(&document.file),
            title: title?,
            server: server?,
            load: load?,
            mlperf: mlperf?,
            hosts: hosts?,
            parameters: parameters?,
            asserts: asserts??,
            artifact: artifact?,
            file: document.file.clone(),
            text: document.text.to_owned(),
            overridden: Vec::new(),
            model,
            inputs,
            outputs,
            servers: servers?,
            models: models?,
            matrix: matrix?,
            capacity: None,
        };
        if let Some(capacity) = capacity {
            scenario.search(capacity);
        }
        Some(scenario)
    };
    let scenario = read().map(Scenario::with_rules);
    errors.or(())?;
    if let Some(Err(problem)) = scenario.as_ref().map(Scenario::check_tls) {
        let place = matrix_table.value(AxisId::Tls.axis().key).map_or(matrix_table.span(), Spanned::span);
        let (problem, help) = problem.rsplit_once(": ").unwrap_or((&problem, "change it"));
        return Err(document.error(place, problem.trim_start_matches("tls: "), help));
    }
    if let Some(Err((key, problem, help))) = scenario.as_ref().map(Scenario::check_bounds) {
        let given = [&file, &load_table].iter().find_map(|table| table.value(key));
        return Err(document.error(given.map_or(file.span(), Spanned::span), problem, help));
    }
    scenario.ok_or_else(|| document.error(0..0, "the file cannot be read as a scenario", "check it"))
}

/// The thresholds, each with the cases that have to keep it.
fn asserts(document: &Document<'_>, file: &Table<'_>, matrix: &Matrix, errors: &mut Errors) -> Option<Vec<Assert>> {
    let assert = |table: &Table<'_>| {
        let that = needed(document, table, "that")?;
        let read = Threshold::read(that.get_ref());
        let that = read.map_err(|(expected, help)| document.unexpected(&that, &expected, help))?;
        Ok(Assert { that, cases: matrix::selection(document, table, matrix)? })
    };
    let all: Vec<Option<Assert>> = file.tables("assert").iter().map(|table| errors.keep(assert(table))).collect();
    all.into_iter().collect()
}

/// A model without batching gets one item per request.
fn batches_fit(document: &Document<'_>, matrix: &Table<'_>) -> Checked<()> {
    let is_one = |size: &&Spanned<DeValue<'_>>| tree::whole(size).is_some_and(|size| *size.get_ref() == 1);
    match matrix.items("batch_sizes").iter().find(|size| !is_one(size)) {
        Some(size) => {
            let help = "the model has `batching = false`: leave batch_sizes out, or [1]";
            Err(document.unexpected(size, "1", help))
        }
        None => Ok(()),
    }
}

/// The inputs of a table of the file, in the first of their shapes. `None` once there is an error; all are kept.
fn inputs(document: &Document<'_>, table: &Table<'_>, axes: &Axes<'_>, errors: &mut Errors) -> Option<Vec<Input>> {
    let tables = errors.keep(at_least_one(document, table, "input", "add an [[input]] table"))?;
    errors.keep(distinct(document, &tables, "input"))?;
    let inputs: Vec<Option<Input>> = tables.iter().map(|table| errors.keep(input(document, table))).collect();
    let inputs: Vec<Input> = inputs.into_iter().collect::<Option<_>>()?;
    // the matrix's errors are already reported
    let Some(matrix) = axes.matrix else { return Some(inputs) };
    errors.keep(request_fits(document, &tables, &inputs, matrix))?;
    let inputs = errors.keep(in_first_shapes(document, axes.table, &tables, inputs, matrix))?;
    if let (false, Err((problem, help))) = (inputs.is_empty(), distinct_requests::check(&inputs, matrix)) {
        errors.push(document.error(axes.distinct.clone().unwrap_or(axes.table.span()), problem, help));
        return None;
    }
    Some(inputs)
}

fn input(document: &Document<'_>, table: &Table<'_>) -> Checked<Input> {
    let datatype: Datatype = known(document, &needed(document, table, "datatype")?)?;
    let sizes = table.items("shape").iter().filter_map(tree::whole);
    let shape: Vec<usize> = sizes.map(|dimension| size(document, &dimension)).collect::<Checked<_>>()?;
    let data = source(document, table, datatype, &shape)?;
    Ok(Input { name: name(document, table, "name")?, datatype, shape, data })
}

/// Checks that the inputs fit every value of the axis of shapes, and gives them the first.
fn in_first_shapes(
    document: &Document<'_>,
    axes: &Table<'_>,
    tables: &[Table<'_>],
    inputs: Vec<Input>,
    matrix: &Matrix,
) -> Checked<Vec<Input>> {
    if inputs.is_empty() {
        // the inputs are taken from the server's metadata
        return Ok(inputs);
    }
    let shapeless = tables.iter().filter(|input| input.value("shape").is_none());
    let shapeless: Vec<String> = shapeless.filter_map(|input| Some(input.text("name")?.into_inner())).collect();
    let shapeless: Vec<&str> = shapeless.iter().map(String::as_str).collect();
    let batch = matrix.largest_batch();
    let mut first = None;
    for (value, item) in matrix.given(AxisId::Shapes).iter().zip(axes.items(AxisId::Shapes.axis().key)) {
        let Value::Shapes(shapes) = value else { continue };
        let fits = shapes::check(&inputs, shapes, batch, &shapeless);
        fits.map_err(|(problem, help)| document.error(item.span(), problem, help))?;
        first = first.or(Some(shapes));
    }
    Ok(shapes::shaped(&inputs, first))
}

/// A dimension of a shape.
fn size(document: &Document<'_>, dimension: &Spanned<i64>) -> Checked<usize> {
    let help = "give the size to send; the batch dimension is added by the runner and not written here";
    let size = whole(document, dimension, DIMENSION, help)?;
    usize::try_from(size).map_err(|_| document.unexpected(dimension, "a size that fits memory", help))
}

/// The data that fills an input.
fn source(document: &Document<'_>, table: &Table<'_>, datatype: Datatype, shape: &[usize]) -> Checked<Source> {
    let data = table.table("data");
    if let Some(file) = data.text("file") {
        let name = table.text("name").map(Spanned::into_inner).unwrap_or_default();
        return Ok(Source::File(data_file(document, &file, &name, datatype, shape)?));
    }
    match data.table("random").whole("seed") {
        Some(seed) => {
            let seed = whole(document, &seed, SEED, "any integer from 0 is a seed, such as 7")?;
            Ok(Source::Random { seed: seed.unsigned_abs() })
        }
        None => Ok(Source::Zeros),
    }
}

/// The absolute path of a file that is named relative to the scenario's folder.
fn existing(document: &Document<'_>, file: &Spanned<String>, expected: &str) -> Checked<PathBuf> {
    let shown = document.shown(file.span());
    let joined = document.file.parent().unwrap_or(Path::new("")).join(file.get_ref());
    if !joined.is_file() {
        let problem = match joined.exists() {
            true => format!("found {shown}, which is no file, expected {expected}"),
            false => format!("found {shown}, expected a file that exists"),
        };
        let place = joined.display().to_string();
        let help = format!("the path is relative to the scenario's folder: {place:?} was looked for");
        return Err(document.error(file.span(), problem, help));
    }
    Ok(std::path::absolute(&joined).unwrap_or(joined))
}

/// The path, relative to the scenario's folder, of a file with the input's data.
fn data_file(
    document: &Document<'_>,
    file: &Spanned<String>,
    name: &str,
    datatype: Datatype,
    shape: &[usize],
) -> Checked<PathBuf> {
    let shown = document.shown(file.span());
    let path = existing(document, file, "a .npy or raw file")?;
    match Items::open(name, datatype, shape, &Source::File(path.clone())) {
        Ok(_) => Ok(path),
        Err(cause) => {
            let words: Vec<String> = cause.chain().skip(1).map(ToString::to_string).collect();
            let help = match datatype {
                Datatype::Bytes => {
                    "give raw BYTES elements: for each its length as 4 little-endian bytes, and that many bytes"
                }
                Datatype::Bf16 => "give raw little-endian bytes of the input's type and shape",
                _ => "give a .npy array or raw little-endian bytes of the input's type and shape",
            };
            // a message of one part may end in a remedy; several parts are the system's
            match &words[..] {
                [one] => {
                    let (problem, help) = one.rsplit_once(": ").unwrap_or((one, help));
                    Err(document.error(file.span(), format!("the file {shown} {problem}"), help))
                }
                several => Err(document.error(file.span(), format!("the file {shown} {}", several.join(": ")), help)),
            }
        }
    }
}

fn outputs(document: &Document<'_>, file: &Table<'_>) -> Checked<Vec<Output>> {
    let tables = at_least_one(document, file, "output", "add an [[output]] table")?;
    distinct(document, &tables, "output")?;
    let output = |table: &Table<'_>| {
        let expect = table.value("expect").is_some().then(|| expect(document, &table.table("expect")));
        Ok(Output { name: name(document, table, "name")?, expect: expect.transpose()? })
    };
    tables.iter().map(output).collect()
}

/// What the content of an output should be.
fn expect(document: &Document<'_>, table: &Table<'_>) -> Checked<Expect> {
    let reference = match (table.text("file"), table.flag("same_as_first")) {
        (Some(file), None | Some(false)) => {
            Reference::File(existing(document, &file, "a .npy, raw or JSON file of the expected content")?)
        }
        (None, Some(true)) => Reference::SameAsFirst,
        _ => {
            let help = "write one of expect = {file = \"golden.npy\"} and expect = {same_as_first = true}";
            return Err(document.error(table.span(), "found neither or both of file and same_as_first", help));
        }
    };
    let tolerance = |key: &str| {
        let help = "give how far a number may be from the expected one, such as 1e-3, or leave it out for not at all";
        table.number(key).map_or(Ok(0.0), |value| number(document, &value, &TOLERANCE, help))
    };
    Ok(Expect { reference, rtol: tolerance("rtol")?, atol: tolerance("atol")? })
}

/// The tables of a list, which must not be empty.
fn at_least_one<'a>(document: &Document<'_>, file: &Table<'a>, key: &str, help: &str) -> Checked<Vec<Table<'a>>> {
    let tables = file.tables(key);
    match file.value(key).filter(|_| tables.is_empty()) {
        Some(list) => Err(document.unexpected(list, &format!("at least one {key}"), help)),
        None => Ok(tables),
    }
}

/// Checks that the largest request is not too large.
fn request_fits(document: &Document<'_>, tables: &[Table<'_>], inputs: &[Input], matrix: &Matrix) -> Checked<()> {
    let batch = matrix.largest_batch();
    for (index, table) in tables.iter().enumerate() {
        // the input that makes it too large
        let fits = shapes::request_fits(&inputs[..=index], batch);
        let span = table.value("shape").map_or(table.span(), Spanned::span);
        fits.map_err(|(problem, help)| document.error(span, problem, help))?;
    }
    Ok(())
}

fn artifact(document: &Document<'_>, table: &Table<'_>, served: &[&str]) -> Checked<Artifact> {
    let address = needed(document, table, "url")?;
    let url = text(document, &address)?;
    if url.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
        let help = "leave user names and passwords out: the file is kept with the results";
        return Err(document.unexpected(&address, "an address that anyone may see", help));
    }
    if !url
        .parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")))
    {
        return Err(document.unexpected(&address, "an http or https address", "give the address of the zip archive"));
    }
    let digest = |key| {
        let value = needed(document, table, key)?;
        let digits = value.get_ref().to_lowercase();
        if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(digits);
        }
        Err(document.unexpected(&value, "64 hexadecimal digits", "give what sha256sum prints for the file"))
    };
    let outputs = table.table("outputs").names();
    if let (false, Some(missing)) =
        (outputs.is_empty(), served.iter().find(|name| !outputs.iter().any(|(_, served)| served == **name)))
    {
        let help = format!(
            "add the published name of the output \"{missing}\" to [artifact.outputs], or leave that table out"
        );
        let member = needed(document, table, "member")?;
        return Err(document.error(member.span(), format!("no published output becomes \"{missing}\""), help));
    }
    Ok(Artifact {
        url,
        sha256: digest("sha256")?,
        member: name(document, table, "member")?,
        member_sha256: digest("member_sha256")?,
        licence: name(document, table, "licence")?,
        stand_in: known(document, &needed(document, table, "stand_in")?)?,
        outputs,
    })
}

fn whole(document: &Document<'_>, value: &Spanned<i64>, range: RangeInclusive<i64>, help: &str) -> Checked<i64> {
    if range.contains(value.get_ref()) {
        return Ok(*value.get_ref());
    }
    let expected = if *range.end() == i64::MAX {
        format!("an integer from {}", range.start())
    } else {
        format!("an integer from {} to {}", range.start(), range.end())
    };
    Err(document.unexpected(value, &expected, help))
}

/// `whole` for floats.
fn number(document: &Document<'_>, value: &Spanned<f64>, range: &RangeInclusive<f64>, help: &str) -> Checked<f64> {
    if range.contains(value.get_ref()) {
        return Ok(*value.get_ref());
    }
    Err(document.unexpected(value, &format!("a number from {} to {}", range.start(), range.end()), help))
}

/// A string that the format was checked to have.
fn needed(document: &Document<'_>, table: &Table<'_>, key: &str) -> Checked<Spanned<String>> {
    let missing = || document.error(table.span(), format!("the key {key} is missing"), "add it");
    table.text(key).ok_or_else(missing)
}

/// The name or title behind a key that the format was checked to have.
fn name(document: &Document<'_>, table: &Table<'_>, key: &str) -> Checked<String> {
    text(document, &needed(document, table, key)?)
}

/// A name or title: one line, not empty.
fn text(document: &Document<'_>, value: &Spanned<String>) -> Checked<String> {
    let text = value.get_ref();
    if text.trim().is_empty() {
        return Err(document.unexpected(value, "a string that is not empty", "write something between the quotes"));
    }
    if text.chars().any(char::is_control) {
        return Err(document.unexpected(value, "one line of text", "remove line breaks and other control characters"));
    }
    Ok(text.clone())
}

fn distinct(document: &Document<'_>, tables: &[Table<'_>], what: &str) -> Checked<()> {
    let names: Vec<Spanned<String>> = tables.iter().filter_map(|table| table.text("name")).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].iter().any(|earlier| earlier.get_ref() == name.get_ref()) {
            let help = format!("every {what} needs its own name: remove one, or rename it");
            return Err(document.unexpected(name, &format!("a name that no other {what} has"), help));
        }
    }
    Ok(())
}

/// The file's stem as a directory name: without anything that could leave the results folder or surprise a shell.
fn safe_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let safe: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    let safe = safe.trim_start_matches(['.', '-']);
    if safe.is_empty() { "scenario".to_owned() } else { safe.to_owned() }
}
