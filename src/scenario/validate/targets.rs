//! The servers and models that axes name, each with its own table if needed.

use toml::Spanned;
use toml::de::DeValue;

use super::super::error::{Document, Errors};
use super::super::tree::{self, Table};
use super::super::{EMBEDDED, Model, ModelTarget, Server};
use super::{Axes, Checked, inputs, name, outputs, server, text};
use crate::matrix::{AxisId, Name, Value};

/// The servers that the matrix names: each has a table, or is the embedded one. `None` once there is an error.
pub(super) fn servers(
    document: &Document<'_>,
    file: &Table<'_>,
    axes: &Axes<'_>,
    errors: &mut Errors,
) -> Option<Vec<(Name, Server)>> {
    let tables = file.table("server");
    let mut servers = Vec::new();
    for (name, place) in named(axes, AxisId::Server) {
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
        if let Some(server) = server(document, &table, errors) {
            servers.push((name, server));
        }
    }
    errors.keep(all_are_named(document, &tables, axes, AxisId::Server))?;
    Some(servers)
}

/// The first model of the matrix, which stands for all, and all models the matrix names. Keys missing in a model's
/// own table come from `[model]`, `[[input]]` and `[[output]]`. `None` once there is an error.
pub(super) fn models(
    document: &Document<'_>,
    file: &Table<'_>,
    axes: &Axes<'_>,
    errors: &mut Errors,
) -> Option<(ModelTarget, Vec<(Name, ModelTarget)>)> {
    let tables = file.table("model");
    let names = named(axes, AxisId::Model);
    let is_alone = axes.table.value(AxisId::Model.axis().key).is_none();
    // tables that all models override need not fit the matrix
    let needs = |key| names.is_empty() || names.iter().any(|(name, _)| tables.table(name).value(key).is_none());
    let shared_inputs = needs("input").then(|| inputs(document, file, axes, errors)).flatten();
    let shared_outputs = needs("output").then(|| errors.keep(outputs(document, file))).flatten();
    errors.keep(all_are_named(document, &tables, axes, AxisId::Model))?;
    if is_alone {
        let name = name(document, &tables, "name");
        let model = errors.keep(name.and_then(|name| model(document, &tables, &tables, name)))?;
        let first = ModelTarget { model, inputs: shared_inputs?, outputs: shared_outputs? };
        return Some((first, Vec::new()));
    }

    let mut models = Vec::new();
    for (name, _) in names {
        let table = tables.table(&name);
        let inputs = match table.value("input") {
            Some(_) => inputs(document, &table, axes, errors),
            None => shared_inputs.clone(),
        };
        let outputs = match table.value("output") {
            Some(_) => errors.keep(outputs(document, &table)),
            None => shared_outputs.clone(),
        };
        let called = server_name(document, &table, &name);
        let model = errors.keep(called.and_then(|called| model(document, &table, &tables, called)));
        if let (Some(model), Some(inputs), Some(outputs)) = (model, inputs, outputs) {
            models.push((name, ModelTarget { model, inputs, outputs }));
        }
    }
    let (_, first) = models.first()?;
    Some((first.clone(), models))
}

/// A model of some name. Keys missing in its `own` table come from the shared one.
fn model(document: &Document<'_>, own: &Table<'_>, shared: &Table<'_>, name: String) -> Checked<Model> {
    let version = own.text("version").or_else(|| shared.text("version"));
    Ok(Model {
        name,
        version: version.map(|version| text(document, &version)).transpose()?,
        batching: own.flag("batching").or_else(|| shared.flag("batching")).unwrap_or(true),
    })
}

/// The server's name for a model: that of the model's own table, or the matrix's.
fn server_name(document: &Document<'_>, own: &Table<'_>, name: &Name) -> Checked<String> {
    own.text("name").map_or_else(|| Ok(name.to_string()), |given| text(document, &given))
}

/// The names on an axis, with their places.
fn named<'a>(axes: &Axes<'a>, id: AxisId) -> Vec<(Name, &'a Spanned<DeValue<'a>>)> {
    let items = axes.table.items(id.axis().key).iter();
    let with_name = |item: &'a Spanned<DeValue<'a>>| Some((Name::from(tree::text(item)?.get_ref().as_str()), item));
    items.filter_map(with_name).filter(|(name, _)| is_named(axes, id, name)).collect()
}

fn is_named(axes: &Axes<'_>, id: AxisId, name: &str) -> bool {
    axes.matrix.is_some_and(|matrix| matrix.given(id).contains(&Value::Name(name.into())))
}

/// Checks that every table is used: an axis must name it.
fn all_are_named(document: &Document<'_>, tables: &Table<'_>, axes: &Axes<'_>, id: AxisId) -> Checked<()> {
    // the matrix's errors are already reported
    if axes.matrix.is_none() {
        return Ok(());
    }
    let (table, key) = (if id == AxisId::Server { "server" } else { "model" }, id.axis().key);
    // a key of the table itself
    let is_key = |name: &str| id == AxisId::Server && name == "headers";
    match tables.inner().into_iter().find(|(name, _)| !is_key(name) && !is_named(axes, id, name)) {
        Some((name, span)) => {
            let help =
                format!("add \"{name}\" to {key} in [matrix], such as {key} = [\"{name}\"], or remove the table");
            Err(document.error(span, format!("nothing names the table [{table}.{name}]"), help))
        }
        None => Ok(()),
    }
}
