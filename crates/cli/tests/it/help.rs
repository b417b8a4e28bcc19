//! `--help` teaches: every command says in a sentence what it does, and shows an example.

use clap::{Command, CommandFactory};
use umbra_cli::args::Cli;

/// Every command, with the words that lead to it.
fn commands() -> Vec<(String, Command)> {
    fn walk(path: String, command: &Command, into: &mut Vec<(String, Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            walk(path.clone(), sub, into);
            into.push((path, sub.clone()));
        }
    }
    let mut found = Vec::new();
    walk("umbra".to_owned(), &Cli::command(), &mut found);
    found
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_does_and_shows_an_example() {
    for (path, mut command) in commands() {
        assert!(command.get_about().is_some_and(|about| about.to_string().len() > 10), "{path}: no about");
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{path}: no example in\n{help}");
        assert!(
            help.contains(&format!("  {path}")) || help.contains(path.trim_start()),
            "{path}: its example is not its own"
        );
    }
}

#[test]
fn every_command_that_does_something_says_what_it_changes() {
    for (path, command) in commands().into_iter().filter(|(_, command)| !command.has_subcommands()) {
        assert!(command.get_long_about().is_some(), "{path}: one sentence is not enough");
    }
}

#[test]
fn examples_parse() {
    use clap::Parser;
    for (path, mut command) in commands() {
        let help = command.render_long_help().to_string();
        for line in help.lines().map(str::trim).filter(|line| line.starts_with("umbra ")) {
            let line = line.split("  ").next().unwrap_or_default(); // a comment follows two blanks
            let line = line.split(" | ").next().unwrap_or_default();
            let words = words(line);
            assert!(Cli::try_parse_from(&words).is_ok(), "{path}: {words:?}");
        }
    }
}

/// Words of a shell line, with single quotes.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(n, part)| match n % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn the_contracted_commands_are_there() {
    let there: Vec<String> = commands().into_iter().map(|(path, _)| path).collect();
    for path in [
        "demo",
        "serve",
        "array serve",
        "writers",
        "providers",
        "volumes",
        "create",
        "list",
        "show",
        "expose",
        "unexpose",
        "break",
        "delete",
        "lun create",
        "lun list",
        "lun show",
        "lun delete",
        "lun extend",
        "lun rename",
        "lun read-only",
        "lun read-write",
        "lun unmask",
        "lun mask",
        "lun attach",
        "lun detach",
        "lun mount",
        "lun unmount",
        "host add",
        "host list",
        "host show",
        "host delete",
        "host secret",
        "diff",
        "pool status",
        "pool extend",
        "pool check",
        "pool dump",
        "pool delta",
        "pool usage",
    ] {
        assert!(there.contains(&format!("umbra {path}")), "{path} is missing");
    }
}
