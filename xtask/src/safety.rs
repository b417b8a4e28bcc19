//! Unsafe code stands in `crates/sys` alone, and every other crate says so with `#![forbid(unsafe_code)]`, which no
//! attribute further down can undo.

use crate::{packages::Packages, sources};
use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use std::path::Path;

/// The one crate with unsafe code.
const HOME: &str = "umbra-sys";

/// Every place outside of the home where unsafe code stands, and every crate that does not forbid it.
pub fn check(root: &Path, packages: &Packages) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in packages.members.iter().filter(|package| package.name != HOME) {
        for path in sources::all_files(&package.folder)? {
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            faults.extend(check_text(&shown, &sources::read(&path)?)?);
            let is_root = ["src/lib.rs", "src/main.rs"].iter().any(|name| path == package.folder.join(name));
            if is_root && !forbids_unsafe(&path)? {
                faults.push(format!("{shown}: #![forbid(unsafe_code)] is missing"));
            }
        }
    }
    Ok(faults)
}

fn check_text(shown: &str, text: &str) -> Result<Vec<String>> {
    let tokens: TokenStream = text
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("read the tokens of {shown}"))?;
    let mut lines = Vec::new();
    find_unsafe(tokens, &mut lines);
    Ok(lines.into_iter().map(|line| format!("{shown}:{line}: unsafe code belongs in crates/sys")).collect())
}

fn find_unsafe(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            TokenTree::Group(group) => find_unsafe(group.stream(), lines),
            _ => (),
        }
    }
}

fn forbids_unsafe(path: &Path) -> Result<bool> {
    Ok(sources::parse(path)?.attrs.iter().any(|attribute| {
        attribute.path().is_ident("forbid")
            && attribute.parse_args::<syn::Path>().is_ok_and(|lint| lint.is_ident("unsafe_code"))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::tests::package;
    use std::fs;

    fn faults(name: &str, lib: &str, test: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::create_dir_all(folder.path().join("tests")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), lib).unwrap();
        fs::write(folder.path().join("tests/it.rs"), test).unwrap();
        let mut package = package(name, &[]);
        package.folder = folder.path().to_owned();
        check(folder.path(), &Packages { members: vec![package], others: Vec::new() }).unwrap()
    }

    const FORBID: &str = "#![forbid(unsafe_code)]\n";

    #[test]
    fn unsafe_code_outside_of_its_home_is_found_even_in_tests_and_macros() {
        for code in ["fn f() { unsafe { g() } }", "unsafe impl Send for X {}", "m! { unsafe { x } }"] {
            let found = faults("umbra-target", FORBID, code);
            assert_eq!(found, ["tests/it.rs:1: unsafe code belongs in crates/sys"], "{code}");
        }
        assert_eq!(faults("umbra-sys", "fn f() { unsafe { g() } }", ""), Vec::<String>::new());
    }

    #[test]
    fn the_word_alone_is_harmless() {
        let text = format!("{FORBID}//! unsafe\n/* unsafe */ const A: &str = \"unsafe\";");
        assert_eq!(faults("umbra-target", &text, ""), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_does_not_forbid_unsafe_code_is_found() {
        for text in ["", "#![deny(unsafe_code)]", "#![forbid(missing_docs)]"] {
            assert_eq!(faults("umbra-target", text, ""), ["src/lib.rs: #![forbid(unsafe_code)] is missing"]);
        }
    }
}
