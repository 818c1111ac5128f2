//! The server configurations of the built-in structures, for models that have none in the repository yet.
//! Knows the layout of one model's folder; nothing of weights.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::file;
use crate::scenario::Structure;

const DEFAULT: &str = "config.pbtxt";

/// Writes the configurations into a model's folder that has no `config.pbtxt`. An existing one belongs to the user.
pub fn write_missing(model_folder: &Path, structure: Structure) -> Result<()> {
    if model_folder.join(DEFAULT).symlink_metadata().is_ok() {
        return Ok(());
    }
    let [gpu, cpu] = match structure {
        Structure::Scrfd => [
            include_str!("../../model_repository/scrfd/config.pbtxt"),
            include_str!("../../model_repository/scrfd/configs/cpu.pbtxt"),
        ],
        Structure::ArcFace => [
            include_str!("../../model_repository/arcface/config.pbtxt"),
            include_str!("../../model_repository/arcface/configs/cpu.pbtxt"),
        ],
    };
    for (name, text) in [("configs/cpu.pbtxt", cpu), (DEFAULT, gpu)] {
        let path = model_folder.join(name);
        let folder = path.parent().expect("a path with a folder");
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // without this line the name is the folder's, which need not be the structure's
        let unnamed: String = text.split_inclusive('\n').filter(|line| !line.starts_with("name:")).collect();
        file::replace(&path, unnamed.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_gets_configurations_and_an_old_one_keeps_its_own() {
        let folder = tempfile::tempdir().unwrap();
        write_missing(folder.path(), Structure::ArcFace).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("config.pbtxt").contains("KIND_GPU") && read("configs/cpu.pbtxt").contains("KIND_CPU"));
        assert!(!read("config.pbtxt").contains("\nname:") && read("config.pbtxt").contains("    name: \"input.1\""));
        fs::write(folder.path().join("config.pbtxt"), "mine").unwrap();
        write_missing(folder.path(), Structure::ArcFace).unwrap();
        assert_eq!(read("config.pbtxt"), "mine");
    }
}
