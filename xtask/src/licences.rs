//! Licences: every package must offer at least one choice made only of licences that we may ship.
//!
//! Licence fields are SPDX expressions: `AND` binds tighter than `OR`, parentheses group, `WITH` adds an exception to
//! the name before it; the old `/` means `OR`.

use crate::packages::{Package, Packages};

/// Licences that ask for no more than notices, or for changed files to stay open.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Exceptions that only ever give more freedom.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

/// Every package that we may not ship, ours included.
pub fn check(packages: &Packages) -> Vec<String> {
    packages.members.iter().chain(&packages.others).filter_map(check_package).collect()
}

fn check_package(package: &Package) -> Option<String> {
    let Package { name, version, licence, .. } = package;
    let Some(licence) = licence else {
        return Some(format!("{name} {version} names no licence"));
    };
    match allows(licence) {
        Ok(true) => None,
        Ok(false) => {
            Some(format!("{name} {version} comes under {licence:?}, which offers no allowed choice"))
        }
        Err(why) => {
            Some(format!("{name} {version} has the licence {licence:?}, which does not parse: {why}"))
        }
    }
}

/// Whether the expression has a choice of allowed licences.
fn allows(expression: &str) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0 };
    let allowed = parser.any()?;
    match parser.peek() {
        None => Ok(allowed),
        Some(word) => Err(format!("{word:?} is not expected there")),
    }
}

struct Parser<'w> {
    words: &'w [&'w str],
    at: usize,
}

impl<'w> Parser<'w> {
    fn peek(&self) -> Option<&'w str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.peek() == Some(word);
        self.at += usize::from(taken);
        taken
    }

    /// `all OR all OR ...`
    fn any(&mut self) -> Result<bool, String> {
        let mut allowed = self.all()?;
        while self.take("OR") {
            allowed |= self.all()?;
        }
        Ok(allowed)
    }

    /// `one AND one AND ...`
    fn all(&mut self) -> Result<bool, String> {
        let mut allowed = self.one()?;
        while self.take("AND") {
            allowed &= self.one()?;
        }
        Ok(allowed)
    }

    /// `( any )`, a name, or a name `WITH` an exception
    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let allowed = self.any()?;
            return if self.take(")") { Ok(allowed) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        let name = self.name()?;
        let excepted = if self.take("WITH") { EXCEPTIONS.contains(&self.name()?) } else { true };
        Ok(ALLOWED.contains(&name) && excepted)
    }

    fn name(&mut self) -> Result<&'w str, String> {
        match self.peek() {
            Some(word) if !matches!(word, "(" | ")" | "AND" | "OR" | "WITH") => {
                self.at += 1;
                Ok(word)
            }
            Some(word) => Err(format!("{word:?} stands where a licence should")),
            None => Err("it ends where a licence should stand".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::tests::package;

    #[test]
    fn expressions_are_evaluated_by_their_operators() {
        for (expression, allowed) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("GPL-2.0-only OR MIT", true),
            ("GPL-2.0-only AND MIT", false),
            ("MIT OR GPL-2.0-only AND Zlib", true),
            ("(MIT OR GPL-2.0-only) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND LGPL-2.1-or-later", false),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH Strange-exception", false),
            ("((MIT))", true),
            ("Apache-2.0 / MIT", true),
        ] {
            assert_eq!(allows(expression), Ok(allowed), "{expression}");
        }
    }

    #[test]
    fn what_does_not_parse_is_refused() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "AND", "MIT WITH", "()"] {
            assert!(allows(expression).is_err(), "{expression:?}");
        }
    }

    #[test]
    fn packages_without_a_good_licence_are_named() {
        let (mut none, mut bad) = (package("none", &[]), package("bad", &[]));
        none.licence = None;
        bad.licence = Some("AGPL-3.0-only".to_owned());
        let found = check(&Packages { members: vec![package("good", &[])], others: vec![none, bad] });
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("none 1.0.0") && found[1].starts_with("bad 1.0.0"), "{found:?}");
    }
}
