//! Digests.

use super::*;

#[test]
fn digests_are_in_force_after_login_and_damage_ends_the_command() {
    let keys = [("HeaderDigest", "CRC32C,None"), ("DataDigest", "CRC32C,None")];
    let mut pair = Pair::logged_in(&keys);
    pair.after_login(&[("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")]);
    let header = pair.command(3, WRITE_10, 512);
    pair.send(header.build(), &[7; 512]);
    assert_eq!(pair.commands[0].data, [7; 512]);
    pair.good(3, &[]);
    assert_eq!(pair.status(3).0, 0);
    let header = pair.command(4, WRITE_10, 512);
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, header.build(), &[7; 512], pair.digests);
    bytes[60] ^= 1;
    pair.feed(&bytes);
    let mut answers = pair.answers();
    let (Response::Reject(reject), rejected) = answers.remove(0) else { panic!("not rejected") };
    assert_eq!((reject.reason, &rejected[..]), (reject_reason::DATA_DIGEST_ERROR, &bytes[..48]));
    assert_eq!(status_of(answers.remove(0), 4), (CHECK, [0x0b, 0x47, 0x05]));
    assert_eq!((pair.discarded.as_slice(), pair.commands.len()), (&[4][..], 1));
}
