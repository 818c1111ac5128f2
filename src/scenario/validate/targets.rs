//! The servers and models that axes name, each with a table of its own where it needs one.

use toml::Spanned;
use toml::de::DeValue;

use super::super::error::{Document, Errors};
use super::super::tree::{self, Table};
use super::super::{EMBEDDED, Model, ModelTarget, Server};
use super::{Checked, address, inputs, metrics, outputs, text};
use crate::matrix::{AxisId, Matrix, Name, Value};

/// The servers that the matrix names: each has a table, or is the embedded one. `None` once there is an error.
pub(super) fn servers(
    document: &Document<'_>,
    file: &Table<'_>,
    matrix: &Matrix,
    errors: &mut Errors,
) -> Option<Vec<(Name, Server)>> {
    let tables = file.table("server");
    let mut servers = Vec::new();
    for (name, place) in named(file, AxisId::Server, matrix) {
        let table = tables.table(&name);
        if tables.value(&name).is_none() {
            if &*name == EMBEDDED {
                servers.push((name, Server::embedded()));
                continue;
            }
            let help = format!(
                "add [server.{name}] with http = \"localhost:8000\" and grpc = \"localhost:8001\"; \"{EMBEDDED}\" alone needs no \
                 table: it is the program's own"
            );
            errors.push(document.unexpected(place, "the name of a [server.NAME] table", help));
            continue;
        }
        let read = || -> Checked<Server> {
            Ok(Server {
                http: address(document, &table, "http", "localhost:8000")?,
                grpc: address(document, &table, "grpc", "localhost:8001")?,
                metrics: metrics(document, &table)?,
                peers: [None; 2],
            })
        };
        if let Some(server) = errors.keep(read()) {
            servers.push((name, server));
        }
    }
    errors.keep(all_are_named(document, file, AxisId::Server, matrix))?;
    Some(servers)
}

/// The models that the matrix names. What a model's own table does not say is what `[model]`, `[[input]]` and `[[output]]` say.
pub(super) fn models(
    document: &Document<'_>,
    file: &Table<'_>,
    matrix: &Matrix,
    errors: &mut Errors,
) -> Option<Vec<(Name, ModelTarget)>> {
    let tables = file.table("model");
    let mut models = Vec::new();
    for (name, _) in named(file, AxisId::Model, matrix) {
        let table = tables.table(&name);
        let own = |key| table.value(key).is_some();
        let inputs = match own("input") {
            true => inputs(document, &table, errors),
            false => inputs(document, file, errors),
        };
        let outputs = errors.keep(outputs(document, if own("output") { &table } else { file }));
        let string = |key| {
            let given = table.text(key).or_else(|| tables.text(key).filter(|_| key != "name"));
            given.map(|given| text(document, &given)).transpose()
        };
        let strings = errors.keep(string("name")).zip(errors.keep(string("version")));
        let (Some(inputs), Some(outputs), Some((called, version))) = (inputs, outputs, strings) else { continue };
        let batching = table.flag("batching").or_else(|| tables.flag("batching")).unwrap_or(true);
        let model = Model { name: called.unwrap_or_else(|| name.to_string()), version, batching };
        models.push((name, ModelTarget { model, inputs, outputs }));
    }
    errors.keep(all_are_named(document, file, AxisId::Model, matrix))?;
    Some(models)
}

/// The names that an axis has, and where they stand.
fn named<'a>(file: &Table<'a>, id: AxisId, matrix: &Matrix) -> Vec<(Name, &'a Spanned<DeValue<'a>>)> {
    let items = file.table("matrix").items(id.axis().key).iter();
    let with_name = |item: &'a Spanned<DeValue<'a>>| Some((Name::from(tree::text(item)?.get_ref().as_str()), item));
    let is_value = |name: &Name| matrix.given(id).contains(&Value::Name(name.clone()));
    items.filter_map(with_name).filter(|(name, _)| is_value(name)).collect()
}

/// A table that no axis names would never be used.
fn all_are_named(document: &Document<'_>, file: &Table<'_>, id: AxisId, matrix: &Matrix) -> Checked<()> {
    let (tables, key) = (if id == AxisId::Server { "server" } else { "model" }, id.axis().key);
    let is_named = |name: &str| matrix.given(id).iter().any(|value| value.to_string() == name);
    match file.table(tables).inner().into_iter().find(|(name, _)| !is_named(name)) {
        Some((name, span)) => {
            let help =
                format!("add \"{name}\" to {key} in [matrix], such as {key} = [\"{name}\"], or remove the table");
            Err(document.error(span, format!("nothing names the table [{tables}.{name}]"), help))
        }
        None => Ok(()),
    }
}
