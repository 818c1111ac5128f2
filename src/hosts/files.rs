//! The data files that workers read on a host, by the hash of their content. Those that are not there are sent by the leader,
//! and are gone when the run ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use super::message::Wanted;

/// Bytes of a file that are read or sent at once.
pub const PIECE: usize = 1 << 20;

/// The files of a host.
#[derive(Default)]
pub struct Files {
    folder: Option<TempDir>,
    /// Files that are not whole yet, by their hash.
    parts: HashMap<String, (NamedTempFile, Sha256)>,
    whole: HashMap<String, PathBuf>,
}

impl Files {
    /// Where files of this content are: where the leader has them, or among those that were sent before. What was sent of a file
    /// that is not whole is forgotten.
    pub fn look(&mut self, wanted: &[Wanted]) -> Vec<Option<String>> {
        self.parts.clear();
        let place = |wanted: &Wanted| {
            let is_same = || digest(Path::new(&wanted.path)).is_ok_and(|digest| digest == wanted.sha256);
            let sent = self.whole.get(&wanted.sha256).map(|path| path.display().to_string());
            sent.or_else(|| is_same().then(|| wanted.path.clone()))
        };
        wanted.iter().map(place).collect()
    }

    /// Adds a piece of a file, in base64. Returns where the file is, once it is whole.
    ///
    /// # Errors
    /// It cannot be written, or its content is not what was announced.
    pub fn add(&mut self, sha256: &str, bytes: &str, is_last: bool) -> Result<Option<String>> {
        if self.folder.is_none() {
            self.folder = Some(
                tempfile::Builder::new()
                    .prefix("runner-data-")
                    .tempdir()
                    .context("no folder for data files")?,
            );
        }
        let folder = self.folder.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default();
        let failed = || format!("a data file cannot be written to {}: is the disk full?", folder.display());
        if !self.parts.contains_key(sha256) {
            let part = NamedTempFile::new_in(&folder).with_context(failed)?;
            self.parts.insert(sha256.to_owned(), (part, Sha256::new()));
        }
        let (file, hash) = self.parts.get_mut(sha256).context("no such file")?;
        let bytes = STANDARD.decode(bytes).context("a piece of a file is damaged")?;
        file.write_all(&bytes).with_context(failed)?;
        hash.update(&bytes);
        if !is_last {
            return Ok(None);
        }
        let Some((mut file, hash)) = self.parts.remove(sha256) else { return Ok(None) };
        ensure!(hex(&hash.finalize()) == sha256, "a data file changed on its way");
        // its name says its content alone
        ensure!(sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "no hash of a file");
        file.flush().with_context(failed)?;
        let path = folder.join(sha256);
        file.persist(&path).with_context(failed)?;
        self.whole.insert(sha256.to_owned(), path.clone());
        Ok(Some(path.display().to_string()))
    }
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn digest(path: &Path) -> Result<String> {
    let failed = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).with_context(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(&piece[..length]),
        }
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_refused_and_found_by_its_content() {
        let here = NamedTempFile::new().unwrap();
        std::fs::write(here.path(), b"face").unwrap();
        let sha256 = digest(here.path()).unwrap();
        let wanted = |path: &str| Wanted { path: path.to_owned(), sha256: sha256.clone() };
        let mut files = Files::default();
        let there = here.path().display().to_string();
        assert_eq!(files.look(&[wanted(&there), wanted("no/such")]), [Some(there), None]);

        // a leader that gave up, and begins again
        assert_eq!(files.add(&sha256, &STANDARD.encode("f"), false).unwrap(), None);
        assert_eq!(files.look(&[wanted("no/such")]), [None]);
        assert_eq!(files.add(&sha256, &STANDARD.encode("fa"), false).unwrap(), None);
        let path = files.add(&sha256, &STANDARD.encode("ce"), true).unwrap().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"face");
        assert_eq!(files.look(&[wanted("no/such")]), [Some(path.clone())]);

        assert!(
            files
                .add(&sha256, &STANDARD.encode("fake"), true)
                .unwrap_err()
                .to_string()
                .contains("changed on its way")
        );
        assert!(files.add(&sha256, "!", true).unwrap_err().to_string().contains("damaged"));
        drop(files);
        assert!(!Path::new(&path).exists());
    }
}
