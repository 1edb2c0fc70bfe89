//! The file of numbers that must not be called: one in E.164 a line, `#` begins a
//! remark. Read with the config, and again whenever the policy is.

use std::collections::BTreeSet;
use std::path::Path;

use offhook_core::Number;

/// Reads the file.
///
/// # Errors
/// It cannot be read, or every line that holds no number.
pub fn read_barred(path: &Path) -> Result<BTreeSet<String>, Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![format!("`{}` cannot be read: {error}", path.display())])?;
    let (mut numbers, mut faults) = (BTreeSet::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()) {
        let written = text.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        match Number::parse(written) {
            Some(number) => drop(numbers.insert(number.as_str().to_owned())),
            None => faults.push(format!(
                "{}:{line}: no number in E.164: write it like +15550100",
                path.display()
            )),
        }
    }
    match faults.is_empty() {
        true => Ok(numbers),
        false => Err(faults),
    }
}
