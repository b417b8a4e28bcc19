//! Portals: CHAP, the unix socket and its owner, shutdown.

use crate::lab::{HOST_A, Lab, TARGET, entry, unit};
use crate::raw::Raw;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use umbra_base::ErrorCode;
use umbra_target::{Access, HostLogin, Mutual, PortalAuth, Secret};

#[test]
fn a_chap_portal_lets_in_who_knows_the_secret() {
    let lab = Lab::new();
    lab.know(HOST_A, Some("correct horse battery"));
    let addr = lab.target.listen_tcp("127.0.0.1:0".parse().unwrap(), PortalAuth::Chap).unwrap();
    assert_eq!(Raw::connect(addr).chap_login(HOST_A, "correct horse battery"), 0);
    assert_eq!(Raw::connect(addr).chap_login(HOST_A, "wrong"), 0x0201);
    assert_eq!(Raw::connect(addr).chap_login("iqn.2026-01.test:stranger", "correct horse battery"), 0x0201);
    assert_eq!(Raw::connect(addr).try_login(HOST_A, &[]), 0x0201);
    lab.know(HOST_A, None);
    assert_eq!(Raw::connect(addr).chap_login(HOST_A, ""), 0x0201, "no secret is not an empty one");
}

#[test]
fn a_target_proves_itself_to_those_who_ask_and_to_nobody_whose_host_it_has_no_secret_for() {
    let lab = Lab::new();
    let addr = lab.target.listen_tcp("127.0.0.1:0".parse().unwrap(), PortalAuth::Chap).unwrap();
    let mutual = Mutual { name: "array".to_owned(), secret: Secret::new("the secret of the array") };
    let secret = Some(Secret::new("correct horse battery"));
    lab.know_login(HOST_A, HostLogin { secret: secret.clone(), mutual: Some(mutual) });
    let login = |targets| Raw::connect(addr).mutual_chap_login(HOST_A, "correct horse battery", targets);
    assert_eq!(login(("array", "the secret of the array")), (0, true));
    assert_eq!(login(("array", "another")), (0, false), "the judge tells secrets apart");
    lab.know_login(HOST_A, HostLogin { secret, mutual: None });
    assert_ne!(login(("array", "the secret of the array")).0, 0);
}

#[test]
fn every_portal_leads_to_the_same_luns_and_is_told_as_a_path() {
    let lab = Lab::new();
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut addresses = vec![lab.addr];
    addresses.push(lab.target.listen_tcp("127.0.0.1:0".parse().unwrap(), PortalAuth::InsecureNone).unwrap());
    match lab.target.listen_tcp("[::1]:0".parse().unwrap(), PortalAuth::InsecureNone) {
        Ok(addr) => addresses.push(addr),
        Err(error) => eprintln!("SKIPPED: IPv6: {error}"),
    }
    let mut ports = Vec::new();
    for (n, addr) in addresses.iter().enumerate() {
        let mut raw = Raw::connect(*addr);
        raw.login(HOST_A, &[]);
        raw.clear_attentions();
        assert!(raw.write(0, n as u8, &[n as u8 + 1; 512]).is_good());
        // REPORT TARGET PORT GROUPS: one group, active and optimized, with every portal and the local socket.
        let groups = raw.run(0, &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], None, 256).data;
        assert_eq!(groups[4] & 0x0f, 0, "active/optimized");
        assert_eq!(usize::from(groups[11]), addresses.len() + 1, "ports");
        // Device identification: the relative port that this session came by.
        let page = raw.run(0, &[0x12, 1, 0x83, 1, 0, 0], None, 256).data;
        ports.push(relative_port(&page));
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), addresses.len(), "{ports:?}");
    let mut raw = lab.login(HOST_A);
    for n in 0..addresses.len() {
        assert_eq!(raw.read(0, n as u8, 1).data, [n as u8 + 1; 512]);
    }
}

/// The relative target port of a device identification page (SPC-4 section 7.8.6).
fn relative_port(page: &[u8]) -> u16 {
    let mut rest = &page[4..];
    loop {
        let len = 4 + usize::from(rest[3]);
        if rest[1] & 0x0f == 4 {
            return u16::from_be_bytes([rest[6], rest[7]]);
        }
        rest = &rest[len..];
    }
}

#[test]
fn the_unix_socket_serves_its_owner_only() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("iscsi.sock");
    lab.target.listen_unix(&path).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let unit = unit();
    lab.set(HOST_A, &[(0, &unit, Access::ReadWrite)]);
    let mut raw = Raw::connect_unix(&path);
    raw.login(HOST_A, &[]);
    raw.clear_attentions();
    assert!(raw.write(0, 0, &[5; 512]).is_good());
    // Even with the mode opened up, another user is turned away by its credentials.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root, so that no other user can be tried");
        return;
    }
    let script =
        "my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; exit(sysread($s, my $b, 1) == 0 ? 0 : 1)";
    let nobody =
        Command::new("perl").args(["-MIO::Socket::UNIX", "-e", script]).arg(&path).uid(65534).status();
    match nobody {
        Ok(status) => assert!(status.success(), "the connection of another user was not closed: {status}"),
        Err(error) => eprintln!("SKIPPED: no perl to connect as another user: {error}"),
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("iscsi.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    lab.target.listen_unix(&path).unwrap();
    assert_eq!(lab.target.listen_unix(&path).unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert_eq!(lab.target.listen_unix(&file).unwrap_err().code(), ErrorCode::ObjectAlreadyExists);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn shutdown_ends_sessions_and_portals() {
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("iscsi.sock");
    lab.target.listen_unix(&path).unwrap();
    lab.target.set_luns(HOST_A, vec![entry(0, &unit(), Access::ReadWrite)]);
    let mut raw = lab.login(HOST_A);
    let mut in_login = Raw::connect(lab.addr);
    in_login.send_bytes(b"C");
    lab.target.shutdown();
    raw.expect_closed();
    in_login.expect_closed();
    assert!(lab.target.sessions().is_empty());
    assert!(TcpStream::connect(lab.addr).is_err());
    assert!(!path.exists());
}

#[test]
fn names_are_compared_without_case() {
    let lab = Lab::new();
    lab.set(&HOST_A.to_ascii_uppercase(), &[(0, &unit(), Access::ReadWrite)]);
    let mut raw = Raw::connect(lab.addr);
    let keys = [("InitiatorName", HOST_A.to_ascii_uppercase()), ("TargetName", TARGET.to_ascii_uppercase())];
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(raw.login_step(1, Some(3), &keys).0.status, 0);
    assert_eq!(raw.report_luns(), [0]);
}
