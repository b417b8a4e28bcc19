//! The life of tokens, in simulated time.

use super::*;
use umbra_scsi::copy::RodType;
use umbra_scsi::mode::ModeState;
use umbra_scsi::{Access, AtomicLimits, Features, LunIdentity, TaskSets, Unit, WriteCache};

const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_nanos(1);
const START: Instant = Instant::from_nanos(1_000_000_000);
const UNIT: [u8; 16] = [7; 16];

fn token(number: u64, secret: u8) -> Token {
    let identity = LunIdentity { naa: 3 << 60, uuid: UNIT, serial: String::new(), product: String::new() };
    let unit = Unit {
        vendor: "",
        revision: "",
        identity: &identity,
        size_bytes: 1 << 20,
        access: Access::ReadWrite,
        cache: WriteCache::Through,
        mode: ModeState::default(),
        physical_exponent: 0,
        allocation: 4096,
        features: Features::ALL,
        atomic: AtomicLimits::default(),
        task_sets: TaskSets::One,
        topology: None,
    };
    Token::new(&unit, RodType::PointInTime, 8, number, [secret; 32])
}

fn maker(host: &str, unit: [u8; 16]) -> Maker {
    Maker { host: host.to_owned(), unit }
}

/// Makes a token of `host`, which stands for its own number.
fn make(tokens: &mut Tokens<u64>, now: Instant, host: &str) -> Result<Token, Sense> {
    let (number, _room) = tokens.begin(host)?;
    tokens.enter(now, token(number, 1), maker(host, UNIT), MINUTE, number);
    Ok(token(number, 1))
}

fn use_once(tokens: &mut Tokens<u64>, now: Instant, token: &Token) -> Result<u64, Sense> {
    let number = tokens.begin_use(now, token)?;
    tokens.end_use(now, token);
    Ok(number)
}

#[test]
fn a_token_lives_to_the_tick_of_its_time_and_no_longer() {
    let mut tokens = Tokens::default();
    let early = make(&mut tokens, START, "a").unwrap();
    let last = START + (MINUTE - TICK);
    assert!(!tokens.is_due(last));
    assert_eq!(tokens.expire(last), []);
    assert_eq!(tokens.begin_use(START + MINUTE, &early), Err(Sense::TOKEN_EXPIRED), "before anybody looked");
    assert!(tokens.is_due(START + MINUTE));
    assert_eq!(tokens.expire(START + MINUTE), [1]);
    assert_eq!(tokens.begin_use(last, &early), Err(Sense::TOKEN_EXPIRED), "it never comes back");
}

#[test]
fn each_use_starts_the_time_anew_and_none_expires_meanwhile() {
    let mut tokens = Tokens::default();
    let token = make(&mut tokens, START, "a").unwrap();
    let last = START + (MINUTE - TICK);
    assert_eq!(use_once(&mut tokens, last, &token), Ok(1));
    assert_eq!(use_once(&mut tokens, last + (MINUTE - TICK), &token), Ok(1));
    tokens.begin_use(last + MINUTE, &token).unwrap();
    let late = last + 100 * MINUTE;
    assert!(!tokens.is_due(late));
    assert_eq!((tokens.expire(late), tokens.check(&token)), (vec![], Ok(())), "a long use goes on");
    tokens.end_use(late, &token);
    assert_eq!(tokens.expire(late + MINUTE), [1]);
}

#[test]
fn a_token_is_known_by_all_of_its_bytes_and_by_no_others() {
    let mut tokens = Tokens::default();
    make(&mut tokens, START, "a").unwrap();
    for other in [token(1, 2), token(2, 1)] {
        assert_eq!(tokens.begin_use(START, &other), Err(Sense::TOKEN_UNKNOWN));
        assert_eq!(tokens.check(&other), Err(Sense::TOKEN_UNKNOWN));
        assert_eq!(tokens.delete(&other), None);
    }
    assert_eq!(use_once(&mut tokens, START, &token(1, 1)), Ok(1));
}

#[test]
fn one_that_was_deleted_says_so() {
    let mut tokens = Tokens::default();
    let token = make(&mut tokens, START, "a").unwrap();
    tokens.begin_use(START, &token).unwrap();
    assert_eq!(tokens.delete(&token), Some(1));
    tokens.end_use(START, &token);
    assert_eq!(tokens.begin_use(START, &token), Err(Sense::TOKEN_DELETED));
}

#[test]
fn whoever_loses_a_unit_loses_his_tokens_of_it_and_nobody_else_does() {
    let mut tokens = Tokens::default();
    let makers = [("a", UNIT), ("a", [8; 16]), ("b", UNIT)];
    for (n, (host, unit)) in makers.into_iter().enumerate() {
        tokens.enter(START, token(n as u64, 1), maker(host, unit), MINUTE, n as u64);
    }
    tokens.begin_use(START, &token(0, 1)).unwrap();
    assert_eq!(tokens.revoke(|made| *made == maker("a", UNIT)), [0]);
    assert_eq!(tokens.check(&token(0, 1)), Err(Sense::TOKEN_REVOKED), "a use under way ends");
    assert_eq!([1, 2].map(|n| tokens.check(&token(n, 1))), [Ok(()), Ok(())]);
    assert_eq!(tokens.of_units(|unit| *unit == UNIT), [token(2, 1)]);
}

#[test]
fn a_host_has_its_share_and_what_it_used_makes_room() {
    let mut tokens = Tokens::default();
    let made: Vec<_> = (0..TOKENS_PER_HOST).map(|_| make(&mut tokens, START, "a").unwrap()).collect();
    assert_eq!(make(&mut tokens, START, "a"), Err(Sense::INSUFFICIENT_RESOURCES_FOR_TOKEN));
    make(&mut tokens, START, "b").expect("another host has a share of its own");
    use_once(&mut tokens, START + TICK, &made[5]).unwrap();
    use_once(&mut tokens, START, &made[9]).unwrap();
    tokens.begin_use(START, &made[3]).unwrap();
    let (_, room) = tokens.begin("a").unwrap();
    assert_eq!(room, Some(10), "the one whose use is the longest ago, of those that are not in use");
    assert_eq!(tokens.check(&made[9]), Err(Sense::TOKEN_REVOKED));
}

#[test]
fn all_hosts_together_are_bounded_and_none_drives_out_anothers() {
    let mut tokens = Tokens::default();
    let hosts = TOKENS / TOKENS_PER_HOST;
    for host in 0..hosts {
        for _ in 0..TOKENS_PER_HOST {
            let token = make(&mut tokens, START, &host.to_string()).unwrap();
            use_once(&mut tokens, START, &token).unwrap();
        }
    }
    assert_eq!(make(&mut tokens, START, "late"), Err(Sense::INSUFFICIENT_RESOURCES_FOR_TOKEN));
    make(&mut tokens, START, "0").expect("one of its own goes");
    assert_eq!(tokens.live.len(), TOKENS);
}

#[test]
fn so_many_that_ended_are_remembered_and_no_more() {
    let mut tokens = Tokens::default();
    for number in 0..=TOKENS_ENDED as u64 {
        tokens.enter(START, token(number, 1), maker("a", UNIT), MINUTE, number);
        assert_eq!(tokens.delete(&token(number, 1)), Some(number));
    }
    assert_eq!(tokens.check(&token(0, 1)), Err(Sense::TOKEN_UNKNOWN));
    assert_eq!(tokens.check(&token(1, 1)), Err(Sense::TOKEN_DELETED));
}
