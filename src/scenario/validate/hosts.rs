//! The machines that send requests.

use toml::Spanned;
use toml::de::DeValue;

use super::super::error::{Document, Errors};
use super::super::hosts::{Hosts, Spread, refused};
use super::super::tree::{self, Table};
use super::super::words::known;
use super::{Checked, name};

/// The hosts of a table. `None` once there is an error; all errors are kept.
pub(super) fn hosts(document: &Document<'_>, table: &Table<'_>, errors: &mut Errors) -> Option<Hosts> {
    let usual = Hosts::default();
    let mut names: Vec<String> = Vec::new();
    let items = table.items("names");
    for value in items {
        names.extend(errors.keep(host(document, value, &names)));
    }
    let ssh = table.value("ssh").map(|place| errors.keep(command(document, table, place)));
    let program = table.value("program").map(|_| errors.keep(name(document, table, "program")));
    let spread = table.text("spread").map(|word| errors.keep(known::<Spread>(document, &word)));
    Some(Hosts {
        names: Some(names).filter(|names| names.len() == items.len())?,
        ssh: ssh.unwrap_or(Some(usual.ssh))?,
        program: program.unwrap_or(Some(usual.program))?,
        spread: spread.unwrap_or(Some(usual.spread))?,
    })
}

fn host(document: &Document<'_>, value: &Spanned<DeValue<'_>>, others: &[String]) -> Checked<String> {
    let help = "write the host as ssh takes it, such as \"gpu-client-1\"";
    let text = tree::text(value).ok_or_else(|| document.unexpected(value, "the name of a host", help))?;
    let name = text.get_ref();
    match refused(name) {
        Some(help) => Err(document.unexpected(value, "the name of a host", help)),
        None if others.contains(name) => {
            Err(document.error(value.span(), format!("the host {name:?} is listed twice"), "remove the repetition"))
        }
        None => Ok(name.clone()),
    }
}

fn command(document: &Document<'_>, table: &Table<'_>, place: &Spanned<DeValue<'_>>) -> Checked<Vec<String>> {
    let words = table.items("ssh").iter().filter_map(tree::text);
    let words: Vec<String> = words.map(Spanned::into_inner).collect();
    match words.first().is_some_and(|program| !program.is_empty()) {
        true => Ok(words),
        false => {
            let help = "write the program and its options, such as ssh = [\"ssh\", \"-p\", \"2222\"]";
            Err(document.unexpected(place, "a command", help))
        }
    }
}
