//! Bytes and PDUs that no honest initiator sends.

use super::*;

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        Pair::new(Authentication::None).feed(&bytes);
        Pair::logged_in(&[]).feed(&bytes);
    }

    #[test]
    fn random_login_text_never_panics_nor_lets_anybody_in(
        pairs in prop::collection::vec(
            ("AuthMethod|CHAP_[ACINR]|InitiatorName|TargetName|SessionType|MaxBurstLength|[A-Za-z]{1,5}", "[ -~]{0,40}|CHAP|None|5|0x[0-9a-f]{0,40}"),
            0..12,
        ),
        stages in prop::collection::vec((0u8..4, 0u8..4, any::<bool>()), 1..6),
    ) {
        let mut pair = Pair::new(Authentication::Chap);
        pair.secret = Some("correct horse");
        for (step, (current, next, transit)) in stages.into_iter().enumerate() {
            let list: TextList = pairs.iter().skip(step * 3).take(3).map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let header = Login { next_stage: next, ..login(current, transit.then_some(next), 1) };
            pair.send(header.build(), &list.encode());
            prop_assert!(pair.target.open_tasks().is_empty());
            for (answer, _) in pair.answers() {
                let let_in = matches!(answer, Response::LoginResponse(pdu) if pdu.status == 0 && pdu.transit);
                prop_assert!(!let_in, "nobody knows the secret");
            }
        }
    }

    #[test]
    fn random_pdus_after_login_never_panic(
        pdus in prop::collection::vec(
            (0u8..0x40, prop::array::uniform32(0u8..4), prop::collection::vec(any::<u8>(), 0..64)),
            1..40,
        ),
    ) {
        let mut pair = Pair::logged_in(&[("InitialR2T", "No")]);
        for (opcode, fields, data) in pdus {
            let mut header = Bhs::new(opcode | if fields[0] == 0 { 0x40 } else { 0 });
            header.0[1] = fields[1] << 6 | fields[2] << 4 | fields[3];
            header.0[16..40].copy_from_slice(&fields[8..]);
            pair.send(header, &data);
            for command in std::mem::take(&mut pair.commands) {
                pair.good(command.tag, &data);
            }
            pair.answers();
        }
    }
}
