//! Finds the model that a path means, and puts a bare ONNX file where a server finds it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{model_folder, model_path};
use crate::file;

/// A model of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The repository's folder.
    pub repository: PathBuf,
    /// The model's name in it.
    pub name: String,
    /// The file that was copied there, if there was none.
    pub copied: Option<PathBuf>,
}

/// The model at `path`: a model's folder of a repository, an ONNX file, or a folder that holds one. A file is copied to
/// `<repository>/<name>/1/model.onnx`; another file there is never replaced.
///
/// # Errors
/// There is no model, or several; the file cannot be copied.
pub fn place(path: &Path, repository: &Path) -> Result<Placed> {
    let shown = path.display();
    ensure!(
        path.exists(),
        "{shown} does not exist: name a model of the server, an ONNX file, or a folder that holds one"
    );
    // `.` and `..` have no name of their own
    let whole = path.canonicalize().with_context(|| format!("cannot read {shown}"))?;
    if is_model(&whole)? {
        let parent = path.parent().filter(|_| path.file_name() == whole.file_name());
        let repository = match parent {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => whole.parent().unwrap_or(&whole).to_owned(),
        };
        return Ok(Placed { repository, name: named(&whole)?, copied: None });
    }
    let (file, named_by) = if whole.is_dir() {
        (only_onnx(&whole, path)?, &whole)
    } else {
        (whole.clone(), &whole)
    };
    ensure!(is_onnx(&file), "{shown} is no ONNX file: expected a name that ends in .onnx");
    let is_anonymous = file.file_stem() == Some(OsStr::new("model"));
    let stem = file.with_extension("");
    let name = match (whole.is_dir(), is_anonymous) {
        (true, true) => named(named_by)?,
        (false, true) => named(file.parent().unwrap_or(&stem))?,
        _ => named(&stem)?,
    };
    let target = model_path(&model_folder(repository, &name)?);
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    if target.symlink_metadata().is_ok() {
        let same = fs::read(&target).is_ok_and(|other| other == bytes);
        ensure!(same, "{} is another file than {}: rename one of the two", target.display(), file.display());
        return Ok(Placed { repository: repository.to_owned(), name, copied: None });
    }
    super::create_version(&target)?;
    file::replace(&target, &bytes)?;
    Ok(Placed { repository: repository.to_owned(), name, copied: Some(target) })
}

/// Whether a folder is a model's of a repository: it has a configuration, or a version with something in it.
fn is_model(folder: &Path) -> Result<bool> {
    if !folder.is_dir() {
        return Ok(false);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_version = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.parse::<u64>().is_ok() && path.is_dir()
    };
    Ok(folder.join("config.pbtxt").is_file() || entries.flatten().any(|entry| is_version(&entry.path())))
}

fn is_onnx(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// The only ONNX file of a folder.
fn only_onnx(folder: &Path, shown: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_onnx(path)).collect();
    files.sort();
    match &files[..] {
        [only] => Ok(only.clone()),
        [] => {
            let inner = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let models: Vec<String> = inner
                .filter(|path| is_model(path).unwrap_or(false))
                .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
                .take(10)
                .collect();
            let help = match models.first() {
                Some(first) => format!("name one of its models, such as {}", shown.join(first).display()),
                None => "expected a .onnx file in it, or 1/model.onnx".to_owned(),
            };
            bail!("the folder {} is no model: {help}", shown.display())
        }
        [first, ..] => bail!(
            "the folder {} holds {} ONNX files: name one of them, such as {}",
            shown.display(),
            files.len(),
            shown.join(first.file_name().unwrap_or_default()).display()
        ),
    }
}

fn named(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned)
        .with_context(|| format!("{} has no name that a server could use", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn a_model_of_a_repository_stays_where_it_is() {
        let folder = folder(&["r/face/1/model.onnx", "r/plain/config.pbtxt"]);
        for name in ["face", "plain"] {
            let path = folder.path().join("r").join(name);
            let placed = place(&path, Path::new("unused")).unwrap();
            assert_eq!(placed, Placed { repository: folder.path().join("r"), name: name.to_owned(), copied: None });
        }
    }

    #[test]
    fn a_file_is_copied_once_and_replaces_no_other() {
        let folder = folder(&["a/model.onnx", "face.onnx", "b/face.onnx"]);
        let at = |path: &str| folder.path().join(path);
        let repository = at("models");
        for (path, name) in [("a", "a"), ("a/model.onnx", "a"), ("face.onnx", "face")] {
            let placed = place(&at(path), &repository).unwrap();
            assert_eq!(placed.name, name, "{path}");
            let target = repository.join(name).join("1/model.onnx");
            assert_eq!(placed.copied, (path != "a/model.onnx").then_some(target.clone()));
            assert!(target.is_file());
        }
        let words = place(&at("b"), &repository).unwrap_err().to_string();
        assert!(words.contains("face/1/model.onnx is another file than"), "{words}");
    }

    #[test]
    fn what_is_no_model_is_told_with_what_to_name() {
        let folder = folder(&["two/a.onnx", "two/b.onnx", "r/face/1/model.onnx", "empty/x.txt"]);
        for (path, words) in [
            ("none", "none does not exist: name a model of the server"),
            ("two", "two holds 2 ONNX files: name one of them, such as"),
            ("r", "r is no model: name one of its models, such as"),
            ("empty", "empty is no model: expected a .onnx file in it, or 1/model.onnx"),
            ("empty/x.txt", "x.txt is no ONNX file"),
        ] {
            let error = place(&folder.path().join(path), Path::new("unused")).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
