//! Files that appear whole or not at all, and rewriting of users' documents, which keep their links, mode and owner.
//! Knows paths and bytes, but not their content.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

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

    /// Flushes it to disk, then gives it its final name `to`, in the same directory.
    pub fn commit(mut self, to: &Path) -> Result<()> {
        self.file
            .sync_all()
            .with_context(|| format!("cannot flush {} to disk", self.path.display()))?;
        fs::rename(&self.path, to).with_context(|| format!("cannot put {} in place", to.display()))?;
        self.keep = true;
        // Syncing the directory makes the rename durable; a file system that cannot do it is no reason to fail.
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

/// Reads the text of a user's file.
///
/// # Errors
/// The file does not exist, is not a regular file (a device, a pipe, a folder), or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(document(path)?).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// Overwrites a user's file with `bytes`. Links that lead to it stay links; its mode and owner stay as they are.
/// Atomic, unless that would change its owner or break its hard links; then a failed write is undone.
///
/// # Errors
/// It is not a file, is read-only, or cannot be written; its content is then unchanged.
pub fn rewrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = document(path)?;
    let failed = || format!("cannot write {}", path.display());
    let metadata = fs::metadata(&target).with_context(failed)?;
    // a superuser could write all the same
    ensure!(!metadata.permissions().readonly(), "{} is read-only: make it writable first", path.display());
    let mut file = File::options().read(true).write(true).open(&target).with_context(failed)?;
    match beside(&target, &metadata)? {
        Some(mut part) => {
            part.write(bytes)?;
            part.commit(&target)
        }
        None => in_place(&mut file, bytes).with_context(failed),
    }
}

/// The file that a path leads to, through any links.
fn document(path: &Path) -> Result<PathBuf> {
    let target = fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    let kind = fs::metadata(&target).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(kind.is_file(), "{} is not a file but a folder, a device or a pipe: name a document", path.display());
    Ok(target)
}

/// A new file that can replace `target`, with its mode and owner; `None` if that is impossible.
#[cfg(unix)]
fn beside(target: &Path, metadata: &fs::Metadata) -> Result<Option<Part>> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let Some(directory) = target.parent().filter(|_| metadata.nlink() == 1) else {
        return Ok(None);
    };
    let Ok(part) = Part::create(directory) else { return Ok(None) };
    let own = part.file.metadata()?;
    let same = (own.uid(), own.gid()) == (metadata.uid(), metadata.gid());
    let owned = same || fchown(&part.file, Some(metadata.uid()), Some(metadata.gid())).is_ok();
    // after the owner, whose change may clear mode bits
    Ok((owned && part.file.set_permissions(metadata.permissions()).is_ok()).then_some(part))
}

#[cfg(not(unix))]
fn beside(target: &Path, _: &fs::Metadata) -> Result<Option<Part>> {
    Ok(target.parent().and_then(|directory| Part::create(directory).ok()))
}

/// Overwrites a file; if that fails, restores its content, for which there is room.
fn in_place(file: &mut File, bytes: &[u8]) -> Result<()> {
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    let mut write = |bytes: &[u8]| -> std::io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    if let Err(error) = write(bytes) {
        write(&before).context("and what it held could not be put back")?;
        return Err(error.into());
    }
    Ok(())
}

/// Deletes `path`; it may be missing.
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

    #[cfg(unix)]
    mod documents {
        use super::*;
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

        #[test]
        fn a_link_stays_a_link_and_mode_and_owner_stay() {
            let folder = tempfile::tempdir().unwrap();
            let (path, link) = (folder.path().join("a"), folder.path().join("link"));
            fs::write(&path, "one").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            // only a superuser may give files away
            let given = chown(&path, Some(1234), Some(2345)).is_ok();
            let before = fs::metadata(&path).unwrap();
            symlink("a", &link).unwrap();
            rewrite(&link, b"three").unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "three");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
            assert!(!given || after.uid() == 1234);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        }

        #[test]
        fn a_file_of_two_names_keeps_both() {
            let folder = tempfile::tempdir().unwrap();
            let (path, other) = (folder.path().join("a"), folder.path().join("b"));
            fs::write(&path, "a longer text").unwrap();
            fs::hard_link(&path, &other).unwrap();
            rewrite(&path, b"short").unwrap();
            assert_eq!(fs::read_to_string(&other).unwrap(), "short");
        }

        #[test]
        fn a_write_that_fails_is_taken_back() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            fs::write(&path, "kept").unwrap();
            let mut unwritable = File::open(&path).unwrap();
            assert!(in_place(&mut unwritable, b"x").is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
        }

        #[test]
        fn what_is_no_writable_file_is_refused() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            fs::write(&path, "kept").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            symlink("none", folder.path().join("dangling")).unwrap();
            for (path, words) in [
                (path.as_path(), "is read-only"),
                (Path::new("/dev/null"), "is not a file"),
                (folder.path(), "is not a file"),
                (&folder.path().join("dangling"), "cannot read"),
            ] {
                let error = format!("{:#}", rewrite(path, b"x").unwrap_err());
                assert!(error.contains(words), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
            assert!(fs::symlink_metadata(folder.path().join("dangling")).unwrap().is_symlink());
            assert!(read_text(Path::new("/dev/zero")).is_err());
        }
    }
}
