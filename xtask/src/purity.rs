//! Pure crates: no file, socket, clock, thread or chance in the code that ships. Tests may do as they like.
//!
//! Paths are read as the compiler reads them: imports are flattened, so `use std::{fs, thread}` hides nothing, and
//! tokens inside macros count as well. What a crate cannot import it cannot use under another name.

use crate::sources::{self, Source, attributes, is_for_tests};
use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use std::path::Path;
use syn::{
    Ident, Item, ItemUse, Macro, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};

/// Paths that reach out of a pure crate. A path is forbidden when it begins with one of these, or ends with one of
/// those that name a type or function.
const FORBIDDEN: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "net"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "env"],
    &["std", "os"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
];

/// Functions that draw random numbers or read a clock, however they were imported.
const FORBIDDEN_ENDS: &[&[&str]] =
    &[&["Uuid", "new_v4"], &["Uuid", "now_v7"], &["Instant", "now"], &["SystemTime", "now"]];

/// Every forbidden path in the sources of the crate below `folder`.
pub fn check(folder: &Path) -> Result<Vec<String>> {
    Ok(sources::production(folder)?.iter().flat_map(check_source).collect())
}

fn check_source(source: &Source) -> Vec<String> {
    let mut finder = Finder::default();
    source.items.iter().for_each(|item| finder.visit_item(item));
    let shown = source.path.display();
    finder
        .found
        .into_iter()
        .map(|(line, path)| format!("{shown}:{line}: a pure crate must not use {path}"))
        .collect()
}

#[derive(Default)]
struct Finder {
    found: Vec<(usize, String)>,
}

impl Finder {
    fn judge(&mut self, path: &[String], line: usize) {
        let path: Vec<&str> = path.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        // A glob over the parent of something forbidden brings it in unseen.
        let globs = |rule: &&[&str]| path.last() == Some(&"*") && rule.starts_with(&path[..path.len() - 1]);
        let begins = FORBIDDEN.iter().any(|rule| path.starts_with(rule) || globs(rule));
        if begins || FORBIDDEN_ENDS.iter().any(|rule| path.ends_with(rule)) {
            self.found.push((line, path.join("::")));
        }
    }

    fn judge_use(&mut self, tree: &UseTree, before: &[String], line: usize) {
        let with = |ident: &Ident| before.iter().cloned().chain([ident.to_string()]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.judge_use(&path.tree, &with(&path.ident), line),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.judge_use(tree, before, line)),
            UseTree::Name(name) if name.ident == "self" => self.judge(before, line),
            UseTree::Name(name) => self.judge(&with(&name.ident), line),
            UseTree::Rename(rename) if rename.ident == "self" => self.judge(before, line),
            UseTree::Rename(rename) => self.judge(&with(&rename.ident), line),
            UseTree::Glob(_) => {
                self.judge(&before.iter().cloned().chain(["*".to_owned()]).collect::<Vec<_>>(), line)
            }
        }
    }

    /// Paths among the tokens of a macro.
    fn judge_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut line) = (Vec::new(), 0);
        let mut after_ident = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if after_ident {
                        self.judge(&std::mem::take(&mut path), line);
                    }
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                    after_ident = true;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => after_ident = false,
                other => {
                    self.judge(&std::mem::take(&mut path), line);
                    after_ident = false;
                    if let TokenTree::Group(group) = other {
                        self.judge_tokens(group.stream());
                    }
                }
            }
        }
        self.judge(&path, line);
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.judge_use(&item.tree, &[], item.span().start().line);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.judge(&parts, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, found: &'ast Macro) {
        self.judge_tokens(found.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let prefix = format!("{}/", folder.path().display());
        check(folder.path()).unwrap().iter().map(|fault| fault.replace(&prefix, "")).collect()
    }

    #[test]
    fn every_way_to_reach_out_is_found() {
        for text in [
            "use std::fs;",
            "use std::{fmt, fs::File};",
            "use std::{fs::{self}, fmt};",
            "use std::thread as harmless;",
            "use std::time::{Duration, Instant};",
            "use std::time::*;",
            "use std::*;",
            "use ::std::net::TcpStream;",
            "fn f() { std::thread::sleep(d) }",
            "fn f() -> std::time::SystemTime { g() }",
            "fn f() { let _ = Uuid::new_v4(); }",
            "fn f() { assert!(x, \"{:?}\", std::fs::read(p)); }",
            "macro_rules! m { () => { std::net::TcpStream::connect(a) } }",
            "mod inner { fn f() { std::env::var(\"X\"); } }",
            "#[cfg(not(test))] use std::fs;",
            "#[cfg(any(test, feature = \"x\"))] use std::fs;",
        ] {
            assert_eq!(faults(&[("lib.rs", text)]).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_pure_passes() {
        let text = "//! Not std::fs.\nuse std::{collections::HashMap, fmt, time::Duration};\nuse umbra_base::Instant;\n\
            /// As std::thread does.\nfn f(now: Instant) -> &'static str { let _ = format!(\"{now:?}\"); \"std::net\" }";
        assert_eq!(faults(&[("lib.rs", text)]), Vec::<String>::new());
    }

    #[test]
    fn tests_may_do_as_they_like() {
        let text = "#[cfg(test)]\nmod tests { use std::fs; }\n#[cfg(test)]\nuse std::thread;\n#[cfg(test)]\nmod far;";
        assert_eq!(faults(&[("lib.rs", text), ("far.rs", "use std::net::TcpStream;")]), Vec::<String>::new());
    }

    #[test]
    fn modules_are_followed_to_their_files() {
        let files = [
            ("lib.rs", "mod a; mod b { mod c; }"),
            ("a.rs", "mod d;"),
            ("a/d.rs", "\nuse std::fs;"),
            ("b/c.rs", "use std::thread;"),
            ("unreached.rs", "use std::net::TcpStream;"),
        ];
        let mut found = faults(&files);
        found.sort();
        assert_eq!(
            found,
            [
                "a/d.rs:2: a pure crate must not use std::fs",
                "b/c.rs:1: a pure crate must not use std::thread"
            ]
        );
    }
}
