//! Files that appear whole or not at all.
//! Knows paths and bytes; nothing of what is in them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

/// A file being written beside its destination. Dropped before [`Part::commit`], it is deleted.
pub struct Part {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl Part {
    /// A new, empty file in `directory`, which must exist.
    ///
    /// Its name ends in `.part`, which git ignores, and begins with a dot, which Triton ignores.
    pub fn create(directory: &Path) -> Result<Part> {
        // The process and a count in the name: two jobs at once do not write into each other's file.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".{}-{count}.part", std::process::id()));
        let options = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = options.with_context(|| format!("cannot write {}: is the folder writable?", path.display()))?;
        Ok(Part { path, file, keep: false })
    }

    /// The open file, readable and writable.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("cannot write {}: is the disk full?", self.path.display()))
    }

    /// On disk, then under its final name `to`, in the same directory.
    pub fn commit(mut self, to: &Path) -> Result<()> {
        self.file.sync_all().with_context(|| format!("cannot flush {} to disk", self.path.display()))?;
        fs::rename(&self.path, to).with_context(|| format!("cannot put {} in place", to.display()))?;
        self.keep = true;
        // The rename itself is durable once the directory is; a file system that cannot do it is no reason to fail.
        if let Some(directory) = to.parent().and_then(|directory| File::open(directory).ok()) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes `path` hold `bytes`, atomically. Its directory must exist.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    let mut part = Part::create(directory)?;
    part.write(bytes)?;
    part.commit(path)
}

/// Deletes `path`; that it is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_the_bytes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_part_not_committed_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::create(folder.path()).unwrap();
        part.write(b"half").unwrap();
        drop(part);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(&folder.path().join("none/a"), b"").unwrap_err();
        assert!(format!("{error:#}").contains("none"), "{error:#}");
    }
}
