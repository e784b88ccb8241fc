//! The editor that `--edit` opens, and the file it opens.
//!
//! Invariant: a file is removed only when nothing of anybody's work is in it, or when that was
//! written. Not here: what is in it (`blocks`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::cli::trouble::Trouble;
use crate::key::Key;

/// What `$VISUAL` or `$EDITOR` says.
pub(super) fn editor() -> Result<String, Trouble> {
    let said = |name| std::env::var(name).ok().filter(|editor: &String| !editor.trim().is_empty());
    said("VISUAL").or_else(|| said("EDITOR")).ok_or_else(|| {
        Trouble::usage(
            "there is no editor: neither VISUAL nor EDITOR is set",
            "say which: EDITOR=vi ringdove siblings resolve … --edit",
        )
    })
}

/// A file of the user's own among the temporary ones.
#[derive(Debug)]
pub(super) struct Draft(PathBuf);

impl Draft {
    /// Makes it, with this text.
    pub(super) fn new(key: &Key, text: &str) -> Result<Draft, Trouble> {
        let name: String = String::from_utf8_lossy(key.key())
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .take(40)
            .collect();
        let file = format!("ringdove-{name}-{:08x}.txt", rand::random::<u32>());
        let path = std::env::temp_dir().join(file);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => Ok(Draft(path)),
            Err(error) => {
                let what = format!("{} cannot be written", path.display());
                Err(Trouble::io(what, &error, "nothing was sent"))
            }
        }
    }

    /// Lets the user edit it. The editor may be a command with arguments.
    pub(super) fn edit(&self, editor: &str) -> io::Result<ExitStatus> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.0).status()
    }

    /// What is in it now.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.0)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it: nothing that anybody would miss is in it.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("{} is left behind: {error}", self.0.display());
        }
    }
}
