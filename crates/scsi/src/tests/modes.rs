//! MODE SENSE and MODE SELECT.

use super::*;
use crate::mode::{self, Header};

#[test]
fn mode_pages_show_cache_protection_and_what_may_change() {
    let six =
        |bytes: &[u8], change: fn(&mut Unit<'_>)| match with_unit(change, |unit| plan(&cdb(bytes), unit)) {
            Ok(Plan::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        };
    let all = six(&[0x1a, 0, 0x3f, 0, 255, 0], |_| {});
    assert_eq!(all[..12], [67, 0, 0x10, 8, 0, 0, 0x08, 0, 0, 0, 2, 0]);
    assert_eq!(all[12..24], [0x01, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(all[24..27], [0x08, 18, 0x04]);
    assert_eq!(all[44..48], [0x0a, 10, 0, 0x10]);
    assert_eq!(all[56..], [0x1c, 10, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let read_only = six(&[0x1a, 8, 0x08, 0, 255, 0], |unit| {
        unit.access = Access::ReadOnly;
        unit.cache = WriteCache::Through;
    });
    assert_eq!((read_only[2], read_only[6]), (0x90, 0));
    let changeable = six(&[0x1a, 8, 0x7f, 0, 255, 0], |_| {});
    assert!(changeable[6..16].iter().all(|byte| *byte == 0), "error recovery");
    assert!(changeable[18..36].iter().all(|byte| *byte == 0), "caching");
    assert_eq!(changeable[38..48], [0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0], "control");
    assert!(changeable[50..].iter().all(|byte| *byte == 0), "informational exceptions");
    let separate = six(&[0x1a, 8, 0x0a, 0, 255, 0], |unit| unit.task_sets = TaskSets::PerNexus);
    assert_eq!(separate[6], 0x20, "TST");
    let ten = six(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 0, 255, 0], |_| {});
    assert_eq!(ten[..8], [0, 42, 0, 0x10, 1, 0, 0, 16]);
}

#[test]
fn mode_select_takes_what_is_changeable_and_nothing_else() {
    let mut list = vec![0, 0, 0, 0, 0x0a, 10, 0x04, 0x10, 0x08, 0, 0, 0, 0xff, 0xff, 0, 0];
    let select = |list: &[u8]| with_unit(|_| {}, |unit| mode::select(list, Header::Six, unit));
    let state = select(&list).unwrap();
    assert_eq!((state.sense_format, state.software_write_protect), (SenseFormat::Descriptor, true));
    assert_eq!(select(&list[..15]), Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
    list[7] = 0;
    assert_eq!(select(&list), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(7)));
    let mut caching = vec![0; 24];
    (caching[4], caching[5], caching[6]) = (0x08, 18, 0x04);
    assert!(select(&caching).is_ok(), "as it is");
    caching[6] = 0;
    assert_eq!(
        select(&caching),
        Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(6)),
        "WCE is not for the initiator to change"
    );
    assert_eq!(select(&[]), Ok(ModeState::default()));
}

fn mode_sense(code: u8, subpage: u8, control: u8) -> Result<Vec<u8>, Sense> {
    match decode_all(&[0x1a, 8, control << 6 | code, subpage, 255, 0]) {
        Ok(Plan::Reply(reply)) => Ok(reply[4..].to_vec()),
        Ok(other) => panic!("{other:?}"),
        Err(sense) => Err(sense),
    }
}

#[test]
fn pages_and_subpages_are_told_by_their_codes() {
    let heads = |mut pages: &[u8]| {
        let mut heads = Vec::new();
        while !pages.is_empty() {
            let (subpage, length) = match pages[0] & 0x40 {
                0 => (0, 2 + usize::from(pages[1])),
                _ => (pages[1], 4 + usize::from(pages[3])),
            };
            heads.push((pages[0] & 0x3f, subpage));
            pages = &pages[length..];
        }
        heads
    };
    let all = [(0x01, 0), (0x08, 0), (0x0a, 0), (0x0a, 1), (0x1c, 0), (0x1c, 2)];
    let plain = [(0x01, 0), (0x08, 0), (0x0a, 0), (0x1c, 0)];
    for control in 0..3 {
        assert_eq!(heads(&mode_sense(0x3f, 0xff, control).unwrap()), all);
        assert_eq!(heads(&mode_sense(0x3f, 0x00, control).unwrap()), plain);
        assert_eq!(heads(&mode_sense(0x0a, 0xff, control).unwrap()), [(0x0a, 0), (0x0a, 1)]);
        assert_eq!(heads(&mode_sense(0x1c, 0x02, control).unwrap()), [(0x1c, 2)]);
    }
    assert_eq!(mode_sense(0x0a, 2, 0), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(2).in_bit(5)));
    assert_eq!(mode_sense(0x3f, 1, 0), Err(Sense::INVALID_FIELD_IN_CDB.in_byte(3)));
    assert_eq!(mode_sense(0x0a, 0, 3), Err(Sense::SAVING_NOT_SUPPORTED));
    assert_eq!(refusal(&[0x1a, 8, 0x1c, 2, 255, 0]), INVALID_FIELD, "thresholds are not switched on");
}

#[test]
fn thresholds_are_set_by_their_page_and_shown_again() {
    let current = mode_sense(0x1c, 2, 0).unwrap();
    assert_eq!(current[..5], [0x5c, 2, 0, 28, 0]);
    assert_eq!(current[16..], [0x00, 1, 0, 0, 0, 0, 0, 0, 0x01, 2, 0, 0, 0, 0, 0, 0]);
    let changeable = mode_sense(0x1c, 2, 1).unwrap();
    assert_eq!(changeable[4], 0, "SITUA");
    assert_eq!(changeable[16..], [0x80, 0, 0, 0, 255, 255, 255, 255, 0x80, 0, 0, 0, 255, 255, 255, 255]);

    let mut list = [vec![0; 4], current].concat();
    (list[20], list[27], list[28], list[31]) = (0x80, 100, 0x81, 0);
    let state = with_unit(everything, |unit| mode::select(&list, Header::Six, unit)).unwrap();
    assert!(state.thresholds.used.enabled);
    assert_eq!((state.thresholds.available.enabled, state.thresholds.available.sets), (true, 100));
    let shown = with_unit(
        |unit| {
            everything(unit);
            unit.mode = state;
        },
        |unit| bytes_of(plan(&cdb(&[0x1a, 8, 0x1c, 2, 255, 0]), unit)),
    );
    assert_eq!(shown[4..], list[4..]);

    let wrong = |at: usize, to: u8| {
        let mut list = list.clone();
        list[at] = to;
        with_unit(everything, |unit| mode::select(&list, Header::Six, unit)).unwrap_err()
    };
    let field = |at| Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(at);
    assert_eq!(wrong(8, 1), field(8), "one nexus only");
    assert_eq!(wrong(21, 2), field(21), "another resource");
    assert_eq!(wrong(20, 0x81), field(20), "another direction");
    assert_eq!(wrong(5, 3), field(4), "no such subpage");
    assert_eq!(wrong(7, 20), field(7), "another length");
    assert_eq!(with_unit(|_| {}, |unit| mode::select(&list, Header::Six, unit)), Err(field(4)), "not on");
}

#[test]
fn block_descriptors_are_taken_as_they_are_and_not_changed() {
    let short = vec![0, 0, 8, 0, 0, 0, 2, 0];
    let long = vec![0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    let six = |descriptor: &[u8]| {
        let list = [&[0, 0, 0, descriptor.len() as u8][..], descriptor].concat();
        with_unit(everything, |unit| mode::select(&list, Header::Six, unit))
    };
    let ten = |descriptor: &[u8]| {
        let list = [&[0, 0, 0, 0, 1, 0, 0, descriptor.len() as u8][..], descriptor].concat();
        with_unit(everything, |unit| mode::select(&list, Header::Ten, unit))
    };
    for descriptor in [&[][..], &short, &long] {
        assert_eq!((six(descriptor), ten(descriptor)), (Ok(ModeState::default()), Ok(ModeState::default())));
    }
    let mut other = short;
    other[6] = 16;
    assert_eq!(six(&other), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(3)));
    assert_eq!(ten(&other), Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST.in_list(6)));
    let cut = with_unit(everything, |unit| mode::select(&[0, 0, 0, 8, 0], Header::Six, unit));
    assert_eq!(cut, Err(Sense::PARAMETER_LIST_LENGTH_ERROR));
}

#[test]
fn only_lists_of_pages_of_a_sane_length_are_selected() {
    let refused = Err(Sense::INVALID_FIELD_IN_CDB.in_byte(1));
    assert_eq!(decode(&[0x15, 0x10, 0, 0, 24, 0]), Ok(Plan::ModeSelect { list: 24, header: Header::Six }));
    assert_eq!(decode(&[0x15, 0x00, 0, 0, 24, 0]), refused, "PF");
    assert_eq!(decode(&[0x15, 0x11, 0, 0, 24, 0]), refused, "SP");
    let ten = |length: u16| {
        let [high, low] = length.to_be_bytes();
        decode(&[0x55, 0x10, 0, 0, 0, 0, 0, high, low, 0])
    };
    assert_eq!(ten(512), Ok(Plan::ModeSelect { list: 512, header: Header::Ten }));
    assert_eq!(ten(513), refused);
}

#[test]
fn mode_sense_is_cut_to_the_allocation_length() {
    let whole = reply_all(&[0x5a, 0, 0x3f, 0xff, 0, 0, 0, 1, 0, 0]);
    assert_eq!((whole.len(), whole[1]), (16 + 56 + 64, 134));
    assert_eq!(reply_all(&[0x5a, 0, 0x3f, 0xff, 0, 0, 0, 0, 8, 0]), whole[..8]);
    assert_eq!(reply_all(&[0x1a, 0, 0x3f, 0xff, 4, 0]).len(), 4);
}
