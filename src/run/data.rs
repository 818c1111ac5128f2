//! The files whose content a scenario sends or expects, by their hashes: what a run was measured with. Must not know how data
//! is read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::hosts::files::digest;
use crate::scenario::{ModelTarget, Scenario};
use crate::tensor::{Expect, Source};

/// The SHA-256 of some files, and of that which says when requests arrive, by their paths relative to the scenario's folder where they are
/// in it.
///
/// # Errors
/// That file cannot be read.
pub fn named(scenario: &Scenario, digests: &BTreeMap<PathBuf, String>) -> Result<BTreeMap<String, String>> {
    let folder = scenario
        .file
        .parent()
        .and_then(|folder| std::path::absolute(folder).ok())
        .unwrap_or_default();
    let name = |path: &Path| path.strip_prefix(&folder).unwrap_or(path).display().to_string();
    let mut named: BTreeMap<String, String> =
        digests.iter().map(|(path, sha256)| (name(path), sha256.clone())).collect();
    // workers are told what it says, and so hosts have no use for it
    if let Some(path) = scenario.load.arrival.file() {
        named.insert(name(path), digest(path)?);
    }
    Ok(named)
}

/// The SHA-256 of each data file of a scenario.
///
/// # Errors
/// A file cannot be read.
pub fn digests(scenario: &Scenario) -> Result<BTreeMap<PathBuf, String>> {
    let of_models = scenario.models.iter().map(|(_, ModelTarget { inputs, outputs, .. })| (inputs, outputs));
    let mut digests = BTreeMap::new();
    for (inputs, outputs) in of_models.chain([(&scenario.inputs, &scenario.outputs)]) {
        let sent = inputs.iter().filter_map(|input| match &input.data {
            Source::File(path) => Some(path.as_path()),
            Source::Zeros | Source::Random { .. } => None,
        });
        let expected = outputs.iter().filter_map(|output| output.expect.as_ref().and_then(Expect::file));
        for path in sent.chain(expected) {
            if let Entry::Vacant(place) = digests.entry(path.to_owned()) {
                place.insert(digest(path)?);
            }
        }
    }
    Ok(digests)
}
