//! Streams that no honest initiator sends.

use super::*;

/// A session with a bit of everything, as bytes.
fn recording() -> Vec<u8> {
    let mut pair = Pair::new(Authentication::None);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("AuthMethod", "None")];
    pair.login(stage::SECURITY, Some(stage::OPERATIONAL), &keys);
    let keys = [("InitialR2T", "No"), ("MaxBurstLength", "1024"), ("FirstBurstLength", "512")];
    pair.login(stage::OPERATIONAL, Some(stage::FULL_FEATURE), &keys);
    let write = pair.command(3, WRITE_10, 1536);
    pair.send(write.build(), &[1; 256]);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    pair.data_out(3, r2t.transfer_tag, 0, 256, &[2; 1024], true);
    let (Response::R2t(r2t), _) = pair.answer() else { panic!("no R2T") };
    pair.data_out(3, r2t.transfer_tag, 0, 1280, &[2; 256], true);
    pair.good(3, &[]);
    let read = pair.command(4, READ_10, 512);
    pair.send(read.build(), b"");
    let ping =
        NopOut { immediate: true, task_tag: 9, transfer_tag: RESERVED_TAG, cmd_sn: 3, ..NopOut::default() };
    pair.send(ping.build(), b"ping");
    let logout = Logout { immediate: true, final_bit: true, task_tag: 10, cmd_sn: 3, ..Logout::default() };
    pair.send(logout.build(), b"");
    assert_eq!((pair.commands.len(), pair.logouts), (2, 1));
    pair.sent
}

#[test]
fn a_session_cut_at_any_byte_leaves_nothing_but_whole_commands() {
    let recording = recording();
    for cut in 0..=recording.len() {
        let mut pair = Pair::new(Authentication::None);
        pair.feed(&recording[..cut]);
        assert!(pair.commands.iter().all(|command| command.data.is_empty() || command.data.len() == 1536));
        let due = pair.now + Duration::from_secs(60);
        if let Some(deadline) = pair.target.next_deadline() {
            assert!(deadline <= due);
            pair.target.tick(deadline);
            pair.target.tick(due);
            assert!(pair.target.closed().is_some(), "cut at {cut}: a mute peer is not kept");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        Pair::new(Authentication::None).feed(&bytes);
        Pair::logged_in(&[]).feed(&bytes);
    }

    #[test]
    fn a_damaged_session_never_panics_and_stays_bounded(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = recording();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.drain(..cut.index(4) * 8);
        let mut pair = Pair::new(Authentication::None);
        pair.feed(&bytes);
        prop_assert!(pair.commands.len() <= 4 + IMMEDIATE_COMMANDS);
        prop_assert!(pair.commands.iter().all(|command| command.data.len() <= COMMAND_DATA as usize));
    }

    #[test]
    fn random_pdus_after_login_never_panic(
        pdus in prop::collection::vec((0u8..0x40, prop::array::uniform32(0u8..4), prop::collection::vec(any::<u8>(), 0..64)), 1..40),
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
