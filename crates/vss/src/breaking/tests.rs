use super::*;

fn set() -> SetId {
    SetId(uuid::Uuid::from_u128(1))
}

fn lun(n: u128, seen: Option<&str>) -> LunFacts {
    LunFacts {
        lun: LunId(uuid::Uuid::from_u128(n)),
        renewed: vec!["XFS UUID".into()],
        original_seen: seen.map(str::to_owned),
        volumes: vec![format!("/v{n}")],
        extra_volumes: vec![],
    }
}

fn facts(standing: Standing, luns: Vec<LunFacts>) -> BreakFacts {
    BreakFacts { set: set(), standing, made_by: vec![MadeBy::Hardware; luns.len()], luns }
}

/// The table of the reference, section 9.3, cell by cell.
#[test]
fn flags_are_legal_exactly_as_the_table_says() {
    use BreakFlag::*;
    let legal = |a, b| BreakMode::parse(&[a, b]).is_ok();
    #[rustfmt::skip]
    let table = [
        (Mask,             [true,  false, false, false]),
        (ReadWrite,        [false, true,  true,  true]),
        (RevertIdentity,   [false, true,  true,  false]),
        (NoRevertIdentity, [false, true,  false, true]),
    ];
    for (a, row) in table {
        for (b, expected) in BreakFlag::ALL.into_iter().zip(row) {
            assert_eq!(legal(a, b), expected, "{a:?} with {b:?}");
        }
    }
    let error = BreakMode::parse(&[RevertIdentity, NoRevertIdentity]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert!(BreakMode::parse(&[ReadWrite, RevertIdentity, NoRevertIdentity]).is_err());
}

#[test]
fn no_flag_means_read_only_and_revert_where_free() {
    assert_eq!(
        BreakMode::parse(&[]).unwrap(),
        BreakMode::Keep(BreakAccess::ReadOnly, IdentityRule::WhereFree)
    );
}

#[test]
fn refusals_have_the_code_of_their_reason() {
    let mode = BreakMode::parse(&[]).unwrap();
    let code = |standing| decide_break(&facts(standing, vec![lun(1, None)]), mode).unwrap_err().code();
    assert_eq!(code(Standing::Unknown), ErrorCode::ObjectNotFound);
    assert_eq!(code(Standing::NotImported), ErrorCode::BadState);
    assert_eq!(code(Standing::InCreation), ErrorCode::BadState);
    assert_eq!(code(Standing::Breaking), ErrorCode::BadState);
}

#[test]
fn one_software_member_vetoes_the_whole_set() {
    let mut facts = facts(Standing::Imported, vec![lun(1, None), lun(2, None)]);
    facts.made_by[1] = MadeBy::Software;
    let error = decide_break(&facts, BreakMode::Mask).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderVeto);
}

#[test]
fn revert_all_is_refused_where_one_original_is_visible() {
    let facts = facts(Standing::Imported, vec![lun(1, None), lun(2, Some("/dev/sdb"))]);
    let error = decide_break(&facts, BreakMode::Keep(BreakAccess::ReadWrite, IdentityRule::All)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BreakRevertIdFailed);
    assert_eq!(error.params()["seen"], "/dev/sdb");
}

#[test]
fn without_a_revert_flag_each_lun_is_reverted_where_free_and_never_fails() {
    let mut never = lun(3, None);
    never.renewed.clear();
    let facts = facts(Standing::Imported, vec![lun(1, None), lun(2, Some("/dev/sdb")), never]);
    let plan = decide_break(&facts, BreakMode::parse(&[]).unwrap()).unwrap();
    assert_eq!(plan.luns[0].identity, IdentityStep::Revert);
    assert!(matches!(&plan.luns[1].identity, IdentityStep::Keep(why) if why.contains("/dev/sdb")));
    assert!(matches!(plan.luns[2].identity, IdentityStep::Keep(_)));
    assert_eq!(plan.unmount, ["/v1"], "only a volume whose identity changes must be unmounted");
}

#[test]
fn revert_none_keeps_every_identity_and_every_mount() {
    let facts = facts(Standing::Imported, vec![lun(1, None), lun(2, Some("/dev/sdb"))]);
    let plan = decide_break(&facts, BreakMode::Keep(BreakAccess::ReadWrite, IdentityRule::None)).unwrap();
    assert!(plan.unmount.is_empty());
    assert!(plan.luns.iter().all(|lun| matches!(lun.identity, IdentityStep::Keep(_))));
}

#[test]
fn mask_unmounts_everything_and_names_extra_volumes() {
    let mut facts = facts(Standing::Imported, vec![lun(1, None), lun(2, Some("/dev/sdb"))]);
    facts.luns[0].extra_volumes = vec!["partition 2".into()];
    let plan = decide_break(&facts, BreakMode::Mask).unwrap();
    assert_eq!(plan.extra_volumes, ["partition 2"]);
    assert_eq!(plan.unmount, ["/v1", "/v2", "partition 2"]);
}
