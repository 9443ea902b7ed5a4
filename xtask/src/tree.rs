//! The files of the project as the checks see them: paths with `/`, and their text.

use std::path::Path;
use std::{fs, io};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "corpus"];

/// Files that are read, by the end of their name.
const TEXT: [&str; 9] = [
    ".rs", ".toml", ".md", ".sh", ".yml", ".yaml", ".x", ".svg", ".ci/run",
];

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Below the root of the workspace, parts separated by `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Reads every text file of the project, in the order of their paths.
pub(crate) fn read(root: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    walk(root, "", &mut files).map_err(|e| format!("cannot read the tree: {e}"))?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && TEXT.iter().any(|end| path.ends_with(end)) {
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
            files.push(File { path, text });
        }
    }
    Ok(())
}
