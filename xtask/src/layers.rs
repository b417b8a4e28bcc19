//! Who may depend on whom. The table is the architecture: a new edge is a design change, made here and argued for.
//!
//! What always holds: pure crates see neither a runtime nor a system; the service and the array meet only through
//! `api`; the command line knows only `api` and the checker; beside it only the store, which lifts a mark from a pool that
//! the checker finds sound, ships with the checker.

use crate::packages::{Need, Package, Packages};

/// Each crate of ours, and the crates of ours that it may build on. Tests may also use any other, see [`check`].
const TABLE: &[(&str, &[&str])] = &[
    ("umbra-base", &[]),
    ("umbra-sys", &[]),
    ("umbra-ring", &["umbra-sys"]),
    ("umbra-thin", &["umbra-base"]),
    ("umbra-thin-check", &["umbra-base"]),
    ("umbra-store", &["umbra-base", "umbra-sys", "umbra-thin", "umbra-thin-check"]),
    ("umbra-scsi", &["umbra-base"]),
    ("umbra-iscsi", &["umbra-base"]),
    ("umbra-target", &["umbra-base", "umbra-sys", "umbra-ring", "umbra-scsi", "umbra-iscsi"]),
    ("umbra-api", &["umbra-base"]),
    (
        "umbra-array",
        &["umbra-base", "umbra-sys", "umbra-store", "umbra-scsi", "umbra-iscsi", "umbra-target", "umbra-api"],
    ),
    ("umbra-host", &["umbra-base", "umbra-sys", "umbra-iscsi"]),
    ("umbra-guard", &["umbra-base", "umbra-sys"]),
    ("umbra-vss", &["umbra-base"]),
    ("umbra-writers", &["umbra-base", "umbra-vss"]),
    (
        "umbra-service",
        &["umbra-base", "umbra-sys", "umbra-api", "umbra-vss", "umbra-guard", "umbra-host", "umbra-writers"],
    ),
    ("umbra-cli", &["umbra-base", "umbra-api", "umbra-thin-check"]),
    (
        "umbra",
        &[
            "umbra-base",
            "umbra-sys",
            "umbra-cli",
            "umbra-array",
            "umbra-service",
            "umbra-host",
            "umbra-guard",
        ],
    ),
    // Benches are programs for developers; nothing builds on them.
    ("umbra-bench-common", &[]),
    ("umbra-bench-pool", &["umbra-api", "umbra-array", "umbra-ring", "umbra-store", "umbra-thin"]),
    (
        "umbra-bench-target",
        &["umbra-base", "umbra-bench-common", "umbra-iscsi", "umbra-store", "umbra-target"],
    ),
    ("xtask", &[]),
];

/// Crates without I/O, clock, chance or threads.
pub const PURE: [&str; 5] = ["umbra-base", "umbra-thin", "umbra-scsi", "umbra-iscsi", "umbra-vss"];

/// What a pure crate must not build on.
const IMPURE: [&str; 9] =
    ["tokio", "rand", "getrandom", "rustix", "libc", "tonic", "nix", "socket2", "hyper"];

/// The checker shares no code with what it checks; not even its tests link the engine directly.
const NEVER: [(&str, &str); 2] = [("umbra-thin-check", "umbra-thin"), ("umbra-thin", "umbra-thin-check")];

/// Every edge between the packages that the rules forbid.
pub fn check(packages: &Packages) -> Vec<String> {
    packages.members.iter().flat_map(|package| check_package(package, packages)).collect()
}

fn check_package(package: &Package, packages: &Packages) -> Vec<String> {
    let name = &package.name;
    let Some((_, allowed)) = TABLE.iter().find(|(row, _)| row == name) else {
        return vec![format!(
            "{name} is not in the table of crates; add its row, and say in the change why it exists"
        )];
    };
    let mut faults = Vec::new();
    for dependency in &package.dependencies {
        let (to, ships) = (dependency.name.as_str(), dependency.need != Need::Dev);
        if NEVER.contains(&(name, to)) {
            // Tests of the engine may ask the checker; the checker may never ask the engine.
            if ships || name == "umbra-thin-check" {
                faults.push(format!("{name} must not depend on {to} in any way"));
            }
        } else if ships && packages.member(to).is_some() && !allowed.contains(&to) {
            faults.push(format!("{name} must not depend on {to}; it may on: {}", allowed.join(", ")));
        }
        if ships && PURE.contains(&name.as_str()) && IMPURE.contains(&to) {
            faults.push(format!("{name} is pure and must not depend on {to}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::tests::package;

    fn faults(name: &str, dependencies: &[(&str, Need)]) -> Vec<String> {
        let mut members = vec![package(name, dependencies)];
        members.extend(TABLE.iter().filter(|(row, _)| *row != name).map(|(row, _)| package(row, &[])));
        check(&Packages { members, others: Vec::new() })
    }

    #[test]
    fn edges_of_the_table_are_allowed() {
        for (name, allowed) in TABLE {
            let edges: Vec<_> = allowed.iter().map(|to| (*to, Need::Normal)).collect();
            assert_eq!(faults(name, &edges), Vec::<String>::new());
        }
    }

    #[test]
    fn an_edge_outside_of_the_table_is_refused() {
        for need in [Need::Normal, Need::Build] {
            let found = faults("umbra-cli", &[("umbra-array", need)]);
            assert!(found[0].contains("umbra-cli must not depend on umbra-array"), "{found:?}");
        }
        assert_eq!(faults("umbra-cli", &[("umbra-array", Need::Dev)]), Vec::<String>::new());
    }

    #[test]
    fn only_those_who_judge_whole_pools_link_the_checker() {
        let judges = ["umbra-thin-check", "umbra-cli", "umbra-store"];
        for (name, _) in TABLE.iter().filter(|(name, _)| !judges.contains(name)) {
            assert_eq!(faults(name, &[("umbra-thin-check", Need::Normal)]).len(), 1, "{name}");
        }
    }

    #[test]
    fn the_checker_never_links_the_engine() {
        for need in [Need::Normal, Need::Dev] {
            assert_eq!(faults("umbra-thin-check", &[("umbra-thin", need)]).len(), 1);
        }
        assert_eq!(faults("umbra-thin", &[("umbra-thin-check", Need::Dev)]), Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_with_a_runtime_is_refused() {
        for name in PURE {
            let found = faults(name, &[("tokio", Need::Normal), ("getrandom", Need::Dev)]);
            assert_eq!(found, [format!("{name} is pure and must not depend on tokio")]);
        }
    }

    #[test]
    fn a_crate_that_nobody_argued_for_is_refused() {
        assert!(faults("umbra-misc", &[])[0].contains("not in the table"));
    }
}
