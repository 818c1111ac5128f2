//! The files whose content a scenario sends or expects, by their hashes: what a run was measured with. Must not know how data
//! is read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::scenario::{ModelTarget, Scenario};
use crate::tensor::{Expect, Source};

/// The SHA-256 of each data file of a scenario, by its path relative to the scenario's folder where it is in it.
///
/// # Errors
/// A file cannot be read.
pub fn digests(scenario: &Scenario) -> Result<BTreeMap<String, String>> {
    let folder = scenario
        .file
        .parent()
        .and_then(|folder| std::path::absolute(folder).ok())
        .unwrap_or_default();
    let of_models = scenario.models.iter().map(|(_, ModelTarget { inputs, outputs, .. })| (inputs, outputs));
    let mut digests = BTreeMap::new();
    for (inputs, outputs) in of_models.chain([(&scenario.inputs, &scenario.outputs)]) {
        let sent = inputs.iter().filter_map(|input| match &input.data {
            Source::File(path) => Some(path.as_path()),
            Source::Zeros | Source::Random { .. } => None,
        });
        let expected = outputs.iter().filter_map(|output| output.expect.as_ref().and_then(Expect::file));
        for path in sent.chain(expected) {
            let name = path.strip_prefix(&folder).unwrap_or(path).display().to_string();
            if let Entry::Vacant(place) = digests.entry(name) {
                place.insert(digest(path)?);
            }
        }
    }
    Ok(digests)
}

fn digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    let failed = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(failed)?;
    loop {
        match file.read(&mut chunk).with_context(failed)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hash.update(&chunk[..length]),
        }
    }
}
