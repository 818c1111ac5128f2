//! Stand-ins as files. With RUNNER_KEEP_MODELS=DIR they are written there and kept, for `tests/onnx_check.py`.

use std::path::{Path, PathBuf};

use runner::models::{Installed, synth, weights_label};
use runner::scenario::Structure;
use sha2::{Digest, Sha256};

fn sha256(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes the stand-in with seed 0, and checks what holds for both structures.
fn check(structure: Structure, parameters_bytes: u64, pinned: &str) -> Installed {
    let folder = tempfile::tempdir().unwrap();
    let keep = std::env::var_os("RUNNER_KEEP_MODELS").map(PathBuf::from);
    let repository = keep.as_deref().unwrap_or(folder.path());
    let installed = synth(structure, repository, structure.name(), 0, false).unwrap();
    assert_eq!(installed.path, repository.join(structure.name()).join("1/model.onnx"));
    assert_eq!(installed.bytes, std::fs::metadata(&installed.path).unwrap().len());
    assert_eq!(installed.parameters_bytes, parameters_bytes);
    assert_eq!(installed.label, "stand-in: seeded random weights (seed 0), answers are meaningless");
    assert_eq!(weights_label(&installed.path).unwrap().as_deref(), Some(installed.label.as_str()));
    // The same bytes on every platform, and in every version: results with a stand-in stay comparable.
    assert_eq!(sha256(&installed.path), pinned);
    installed
}

#[test]
fn scrfd() {
    // 16,903,736 and the three learned scalars of the boxes.
    check(Structure::Scrfd, 16_903_736 + 12, "bdae1718bceb8d9ecdea618e340b948454eeeeda023e270760d56a221c0d8b7d");
}

#[test]
fn arcface() {
    check(Structure::ArcFace, 174_363_904, "905824a75b0973385d41755662c059201a59afab2ad05c4aff3af84d15e4636f");
}

#[test]
fn a_seed_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let hash = |name, seed| sha256(&synth(Structure::Scrfd, folder.path(), name, seed, false).unwrap().path);
    let first = hash("a", 7);
    assert_eq!(first, hash("b", 7));
    assert_ne!(first, hash("a", 8));
}
