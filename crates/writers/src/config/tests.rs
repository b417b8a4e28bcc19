use super::*;

#[test]
fn a_postgres_writer_needs_only_its_socket() {
    let writer = parse("name = 'db'\n[postgres]\nsocket = '/run/pg'", "x").unwrap();
    assert_eq!((writer.name.as_str(), writer.level), ("db", Level::Application));
    let Kind::Postgres(postgres) = writer.kind else { panic!("{writer:?}") };
    assert_eq!((postgres.port, postgres.user.as_str()), (5432, "postgres"));
}

#[test]
fn a_command_writer_reads_as_documented() {
    let text = "
        name = 'shop'
        level = 'front-end'
        [command]
        paths = ['/srv/shop']
        freeze_at_most_s = 20
        claims = 'file_system'
        freeze = { run = ['/bin/freeze', '-x'], limit_s = 5 }
        thaw   = { run = ['/bin/thaw'] }
    ";
    let writer = parse(text, "x").unwrap();
    assert_eq!(writer.level, Level::FrontEnd);
    let Kind::Command(command) = writer.kind else { panic!("{writer:?}") };
    assert_eq!(command.freeze_at_most, Some(Duration::from_secs(20)));
    assert_eq!(command.freeze.unwrap().limit, Duration::from_secs(5));
    assert_eq!(command.thaw.unwrap().limit, PROGRAM_DEFAULT);
    assert_eq!(command.claims, Consistency::FileSystem);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_origin() {
    for text in [
        "",
        "name = 'x'",
        "name = 'x'\nbogus = 1\n[postgres]\nsocket = '/run'",
        "name = 'a/b'\n[postgres]\nsocket = '/run'",
        "name = 'x'\n[postgres]\nsocket = 'run'",
        "name = 'x'\n[postgres]\nsocket = '/run'\n[command]\npaths = ['/a']",
        "name = 'x'\n[postgres]\nsocket = '/run'\ncheckpoint_limit_s = 0",
        "name = 'x'\n[command]\npaths = []",
        "name = 'x'\n[command]\npaths = ['rel']",
        "name = 'x'\n[command]\npaths = ['/a']\nfreeze = { run = ['/f'] }",
        "name = 'x'\n[command]\npaths = ['/a']\npost = { run = ['f'] }",
        "name = 'x'\n[command]\npaths = ['/a']\npost = { run = [] }",
        "name = 'x'\n[command]\npaths = ['/a']\npost = { run = ['/f'], limit_s = 99999 }",
    ] {
        let error = parse(text, "some.toml").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{text}");
        assert!(error.message().contains("some.toml"), "{text}");
    }
}

#[test]
fn a_folder_is_read_in_order_and_names_are_unique() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(&folder.path().join("none")).unwrap().is_empty());
    let write = |file: &str, name: &str| {
        let text = format!("name = '{name}'\n[postgres]\nsocket = '/run'");
        std::fs::write(folder.path().join(file), text).unwrap();
    };
    write("b.toml", "second");
    write("a.toml", "first");
    std::fs::write(folder.path().join("readme"), "no writer").unwrap();
    let names: Vec<_> = load(folder.path()).unwrap().into_iter().map(|writer| writer.name).collect();
    assert_eq!(names, ["first", "second"]);
    write("c.toml", "first");
    assert_eq!(load(folder.path()).unwrap_err().code(), ErrorCode::InvalidArgument);
    std::fs::write(folder.path().join("c.toml"), " ".repeat(CONFIG_BYTES as usize + 1)).unwrap();
    assert_eq!(load(folder.path()).unwrap_err().code(), ErrorCode::LimitReached);
}
