//! Model files: stand-ins with the real structure and seeded weights, and the published weights made batchable.
//!
//! Owns `<repository>/<model>/1/model.onnx` and the labels that name the weights' source. Of scenarios it knows only
//! their [`Artifact`]; it knows no terminal and no server. Text and progress go to callbacks.

mod arcface;
mod configuration;
mod fetch;
mod label;
#[cfg(test)]
mod miniature;
mod onnx;
mod place;
mod published;
mod scrfd;
mod weights;

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::file;
use crate::scenario::{Artifact, Structure};

pub use label::weights_label;
pub use place::{Placed, place};

/// Prefix of every stand-in's label.
const STAND_IN: &str = "stand-in:";

/// An installed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `<repository>/<model>/1/model.onnx`.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// The source of the weights, as [`weights_label`] reads it from the file.
    pub label: String,
    /// Bytes of all FP32 initialisers.
    pub parameters_bytes: u64,
    /// The server configurations that now carry the label.
    pub configurations: Vec<PathBuf>,
}

/// The label of a stand-in.
fn stand_in_label(seed: u64) -> String {
    format!("{STAND_IN} seeded random weights (seed {seed}), answers are meaningless")
}

/// Writes a stand-in to `<repository>/<model_name>/1/model.onnx`, and the labelled server configurations; a new
/// folder also gets the unlabelled ones.
///
/// The same seed gives the same file, byte for byte. An existing stand-in is replaced; any other model only if `force`.
///
/// # Errors
/// `model_name` is not a plain file name; published weights exist and `force` is not given; the disk write fails.
pub fn synth(structure: Structure, repository: &Path, model_name: &str, seed: u64, force: bool) -> Result<Installed> {
    let folder = model_folder(repository, model_name)?;
    let path = model_path(&folder);
    if !force && path.symlink_metadata().is_ok() {
        let found = weights_label(&path).unwrap_or_default();
        ensure!(
            found.as_deref().is_some_and(|label| label.starts_with(STAND_IN)),
            "{} exists and is not a stand-in (weights: {}); delete it or force the stand-in",
            path.display(),
            found.as_deref().unwrap_or("no label")
        );
    }
    let label = stand_in_label(seed);
    let model = match structure {
        Structure::Scrfd => scrfd::model(seed, &label),
        Structure::ArcFace => arcface::model(seed, &label),
    };
    create_version(&path)?;
    install(&folder, structure, &model, label)
}

/// Downloads published weights to `<repository>/<model_name>/1/model.onnx`, makes them batchable, and writes the
/// labelled server configurations. Replaces an existing model, but only once the new one is complete.
///
/// `confirm` gets the licence and returns whether the user accepts it; it is called before anything is sent or
/// written. `progress` gets the bytes received and, if known, the size of the archive. The archive is not kept: a
/// second fetch downloads it again.
///
/// # Errors
/// The licence is not accepted, the download or a hash fails, the file is not the expected model, a file cannot be
/// written. An error leaves nothing behind and keeps an existing model. Dropping the future midway also deletes the
/// partial download; a process that ends on Ctrl-C without dropping it leaves a hidden `.part` file.
pub async fn fetch(
    artifact: &Artifact,
    repository: &Path,
    model_name: &str,
    confirm: impl FnOnce(&str) -> Result<bool>,
    progress: impl FnMut(u64, Option<u64>),
) -> Result<Installed> {
    let folder = model_folder(repository, model_name)?;
    ensure!(
        confirm(&artifact.licence).context("the licence could not be shown and accepted")?,
        "the licence of the weights was not accepted, so nothing was downloaded; accept it, or write a stand-in with \
         random weights instead: runner models synth {}",
        artifact.stand_in.name()
    );
    let version = create_version(&model_path(&folder))?;
    let fetched = fetch_into(artifact, &folder, &version, progress).await;
    if fetched.is_err() {
        // Removes the folders created in vain; remove_dir refuses those that hold something.
        let _ = fs::remove_dir(&version).and_then(|()| fs::remove_dir(&folder));
    }
    fetched
}

async fn fetch_into(
    artifact: &Artifact,
    folder: &Path,
    version: &Path,
    progress: impl FnMut(u64, Option<u64>),
) -> Result<Installed> {
    let bytes = fetch::member(artifact, version, progress).await?;
    let what = || format!("{} from {}", artifact.member, artifact.url);
    let mut model = onnx::ModelProto::decode(&*bytes).with_context(|| format!("{} is not an ONNX model", what()))?;
    drop(bytes);
    published::make_batchable(&mut model, artifact).with_context(|| format!("cannot make {} batchable", what()))?;
    install(folder, artifact.stand_in, &model, published::label(artifact))
}

/// Whether `<repository>/<model_name>/1/model.onnx` exists, whoever put it there.
///
/// # Errors
/// `model_name` is not a plain file name.
pub fn is_there(repository: &Path, model_name: &str) -> Result<bool> {
    Ok(model_path(&model_folder(repository, model_name)?).symlink_metadata().is_ok())
}

/// `<repository>/<model_name>`, refusing a name that would lead elsewhere.
fn model_folder(repository: &Path, model_name: &str) -> Result<PathBuf> {
    let mut components = Path::new(model_name).components();
    let plain = matches!(components.next(), Some(Component::Normal(name)) if name == model_name)
        && components.next().is_none()
        && !model_name.contains(['/', '\\', '\0']);
    ensure!(plain, "{model_name:?} cannot be a model's folder: use a plain name, without separators, as [model] name");
    Ok(repository.join(model_name))
}

fn model_path(folder: &Path) -> PathBuf {
    folder.join("1").join("model.onnx")
}

/// Creates and returns the folder of `path`.
fn create_version(path: &Path) -> Result<PathBuf> {
    let version = path.parent().expect("model_path has a folder");
    fs::create_dir_all(version).with_context(|| format!("cannot create {}", version.display()))?;
    Ok(version.to_owned())
}

fn install(folder: &Path, structure: Structure, model: &onnx::ModelProto, label: String) -> Result<Installed> {
    let path = model_path(folder);
    configuration::write_missing(folder, structure)?;
    let bytes = model.encode_to_vec();
    // In this order no label ever describes an absent model, wherever the process is interrupted.
    label::remove(folder)?;
    file::replace(&path, &bytes)?;
    let configurations = label::write(folder, &label)?;
    let parameters_bytes = onnx::parameters_bytes(model);
    Ok(Installed { path, bytes: bytes.len() as u64, label, parameters_bytes, configurations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_are_plain() {
        let repository = Path::new("r");
        assert_eq!(model_folder(repository, "scrfd.v2").unwrap(), Path::new("r/scrfd.v2"));
        for name in ["", ".", "..", "../x", "a/b", "a/", "/etc", "a\\b", "./a", "a\0"] {
            let error = model_folder(repository, name).unwrap_err().to_string();
            assert!(error.contains("use a plain name"), "{name:?}: {error}");
        }
    }

    #[test]
    fn a_stand_in_does_not_replace_published_weights() {
        let repository = tempfile::tempdir().unwrap();
        let folder = repository.path().join("m");
        let mut model = miniature::det();
        published::make_batchable(&mut model, &miniature::artifact(Structure::Scrfd)).unwrap();
        create_version(&model_path(&folder)).unwrap();
        let before = install(&folder, Structure::Scrfd, &model, "published".into()).unwrap();
        let error = synth(Structure::Scrfd, repository.path(), "m", 1, false).unwrap_err().to_string();
        assert!(error.contains("not a stand-in (weights: miniature.onnx sha256 abab"), "{error}");
        assert_eq!(fs::metadata(&before.path).unwrap().len(), before.bytes);

        let forced = synth(Structure::Scrfd, repository.path(), "m", 1, true).unwrap();
        assert_eq!(weights_label(&forced.path).unwrap(), Some(stand_in_label(1)));
        let again = synth(Structure::Scrfd, repository.path(), "m", 2, false).unwrap();
        assert_eq!(weights_label(&again.path).unwrap(), Some(stand_in_label(2)));

        fs::write(&again.path, "not a model").unwrap();
        let error = synth(Structure::Scrfd, repository.path(), "m", 1, false).unwrap_err().to_string();
        assert!(error.contains("no label"), "{error}");
    }
}
