use std::path::{Path, PathBuf};

use super::StackError;

/// Finds a part's binary: a path as it is; otherwise in the given folders, beside this binary, then in
/// `PATH`.
pub(super) fn find(program: &str, folders: &[PathBuf]) -> Result<PathBuf, StackError> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return if is_program(&path) { Ok(path) } else { Err(missing(program, vec![path])) };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = folders.iter().cloned().chain(beside).chain(std::env::split_paths(&on_path)).collect();
    let found = places.iter().map(|folder| folder.join(program)).find(|path| is_program(path));
    found.ok_or_else(|| missing(program, places))
}

fn missing(program: &str, looked_in: Vec<PathBuf>) -> StackError {
    StackError::NoProgram { program: program.to_owned(), looked_in }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
