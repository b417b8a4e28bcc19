//! What discovery tells of portals (RFC 7143 section 4.3, appendix C): an address that the asker can reach.

use crate::lab::{HOST_A, Lab, TARGET};
use crate::raw::Raw;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use umbra_iscsi::pdu::request::{Text, stage};
use umbra_iscsi::pdu::{RESERVED_TAG, Response, TextList};
use umbra_target::{PortalAuth, TargetConfig};

/// What SendTargets=All tells who asks at `portal`.
fn told_at(portal: SocketAddr) -> Vec<(String, String)> {
    let mut raw = Raw::connect(portal);
    let keys = [("InitiatorName", HOST_A), ("SessionType", "Discovery")];
    assert_eq!(raw.login_step(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys).0.status, 0);
    let ask = Text {
        immediate: true,
        final_bit: true,
        task_tag: 7,
        transfer_tag: RESERVED_TAG,
        cmd_sn: 1,
        ..Text::default()
    };
    let list: TextList = [("SendTargets", "All")].into_iter().collect();
    raw.send(ask.build(), &list.encode());
    match raw.receive() {
        Some((Response::TextResponse(_), data)) => {
            let list = TextList::parse(&data).unwrap();
            list.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The target at these addresses and portal groups.
fn target_at(portals: &[(SocketAddr, u16)]) -> Vec<(String, String)> {
    let address = |(at, group): &(SocketAddr, u16)| ("TargetAddress".to_owned(), format!("{at},{group}"));
    let name = ("TargetName".to_owned(), TARGET.to_owned());
    std::iter::once(name).chain(portals.iter().map(address)).collect()
}

/// The second portal of a laboratory; `None` where there is no IPv6.
fn listen(lab: &Lab, address: &str) -> Option<SocketAddr> {
    match lab.target.listen_tcp(address.parse().unwrap(), PortalAuth::InsecureNone) {
        Err(error) if address.starts_with('[') => {
            eprintln!("SKIPPED: IPv6: {error}");
            None
        }
        bound => Some(bound.unwrap()),
    }
}

#[test]
fn who_came_to_a_portal_for_every_address_is_told_the_one_that_it_came_by() {
    let lab = Lab::new();
    let every = listen(&lab, "0.0.0.0:0").unwrap();
    let came_by = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), every.port());
    assert_eq!(told_at(came_by), target_at(&[(lab.addr, 1), (came_by, 2)]));
    assert_eq!(
        told_at(lab.addr),
        target_at(&[(lab.addr, 1)]),
        "no address of the other is known to lead here"
    );
}

#[test]
fn a_portal_of_ipv6_is_told_in_brackets() {
    let lab = Lab::new();
    let Some(portal) = listen(&lab, "[::1]:0") else { return };
    assert_eq!(portal.to_string(), format!("[::1]:{}", portal.port()));
    for asked in [portal, lab.addr] {
        assert_eq!(told_at(asked), target_at(&[(lab.addr, 1), (portal, 2)]));
    }
}

#[test]
fn who_came_by_ipv4_to_a_portal_for_both_is_told_an_ipv4_address() {
    let lab = Lab::new();
    let Some(both) = listen(&lab, "[::]:0") else { return };
    for came_by in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let came_by = SocketAddr::new(came_by, both.port());
        assert_eq!(told_at(came_by), target_at(&[(lab.addr, 1), (came_by, 2)]));
    }
    let mut raw = Raw::connect(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), both.port()));
    raw.login(HOST_A, &[]);
    assert!(lab.target.sessions()[0].peer.starts_with("127.0.0.1:"), "{:?}", lab.target.sessions());
}

#[test]
fn advertised_addresses_are_told_in_the_order_of_the_portals() {
    let advertised = ["192.0.2.1:3260", "192.0.2.2:3261"];
    let config =
        TargetConfig { advertised: advertised.map(str::to_owned).to_vec(), ..TargetConfig::new(TARGET) };
    let lab = Lab::with(config);
    let other = listen(&lab, "127.0.0.1:0").unwrap();
    let [first, second] = advertised.map(|address| address.parse().unwrap());
    for asked in [lab.addr, other] {
        assert_eq!(told_at(asked), target_at(&[(first, 1), (second, 2)]));
    }
}
