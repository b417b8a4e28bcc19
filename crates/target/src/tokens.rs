//! The ROD tokens that a target has given out: who made each, of which unit, how long it lives. Pure: time comes in.
//!
//! ```text
//!   entered -> lives, and each use starts its time anew -+-> expired: not used for its time
//!                                                        +-> deleted: by who used it (DEL_TKN)
//!                                                        +-> revoked: its maker lost the unit, or room is needed
//! ```
//! What always holds: a token is found only by all of its bytes, the secret ones included; one that is in use does not
//! expire; one that has ended never comes back, and says why for as long as it is remembered. Tokens die with the
//! target. What they stand for is handed back where it ends, so that it is dropped without the table's lock.

use crate::limits::{TOKENS, TOKENS_ENDED, TOKENS_PER_HOST};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use umbra_base::Instant;
use umbra_scsi::Sense;
use umbra_scsi::copy::Token;

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maker {
    /// The initiator that made it, in lower case.
    pub host: String,
    /// The unit that it was made of.
    pub unit: [u8; 16],
}

/// A token that lives.
#[derive(Debug)]
struct Held<T> {
    maker: Maker,
    /// Time without use after which it expires.
    life: Duration,
    /// When it was made, or its last use ended.
    touched: Instant,
    was_used: bool,
    /// Uses under way.
    uses: usize,
    what: T,
}

impl<T> Held<T> {
    fn is_due(&self, now: Instant) -> bool {
        self.uses == 0 && now >= self.touched + self.life
    }
}

/// All tokens, each of which stands for a `T`.
#[derive(Debug)]
pub(crate) struct Tokens<T> {
    live: HashMap<Token, Held<T>>,
    /// The oldest first.
    ended: VecDeque<(Token, Sense)>,
    last_number: u64,
}

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Tokens { live: HashMap::new(), ended: VecDeque::new(), last_number: 0 }
    }
}

impl<T: Clone> Tokens<T> {
    /// A number for a host's next token. Of a host that has as many as it may, the token goes whose last use is the
    /// longest ago; without a used one the host is refused, so that no host drives out what another is about to use.
    /// Those that are being made at that moment are not counted: there are never more of them than workers.
    pub fn begin(&mut self, host: &str) -> Result<(u64, Option<T>), Sense> {
        let of_host = self.live.values().filter(|held| held.maker.host == host).count();
        let mut room = None;
        if of_host >= TOKENS_PER_HOST || self.live.len() >= TOKENS {
            let spare = self.spare(host).ok_or(Sense::INSUFFICIENT_RESOURCES_FOR_TOKEN)?;
            room = self.end(&spare, Sense::TOKEN_REVOKED);
        }
        self.last_number += 1;
        Ok((self.last_number, room))
    }

    /// The token of a host that it can best do without.
    fn spare(&self, host: &str) -> Option<Token> {
        let idle = |held: &Held<T>| held.maker.host == host && held.was_used && held.uses == 0;
        let spare = self.live.iter().filter(|(_, held)| idle(held)).min_by_key(|(_, held)| held.touched);
        spare.map(|(token, _)| token.clone())
    }

    /// A token lives from now on, until it is not used for `life`.
    pub fn enter(&mut self, now: Instant, token: Token, maker: Maker, life: Duration, what: T) {
        let held = Held { maker, life, touched: now, was_used: false, uses: 0, what };
        self.live.insert(token, held);
    }

    /// What a token stands for, to whoever presents it: the token is the right (SPC-4 section 5.17).
    /// [`Tokens::end_use`] must follow.
    pub fn begin_use(&mut self, now: Instant, token: &Token) -> Result<T, Sense> {
        match self.live.get_mut(token) {
            Some(held) if !held.is_due(now) => {
                held.uses += 1;
                held.was_used = true;
                Ok(held.what.clone())
            }
            // Its time is up, although nobody has looked yet.
            Some(_) => Err(Sense::TOKEN_EXPIRED),
            None => Err(self.why_not(token)),
        }
    }

    /// Whether a use under way may go on.
    pub fn check(&self, token: &Token) -> Result<(), Sense> {
        match self.live.contains_key(token) {
            true => Ok(()),
            false => Err(self.why_not(token)),
        }
    }

    /// A use is over: the token's time starts anew.
    pub fn end_use(&mut self, now: Instant, token: &Token) {
        if let Some(held) = self.live.get_mut(token) {
            held.uses -= 1;
            held.touched = now;
        }
    }

    /// Deletes a token.
    #[must_use = "what it stood for is dropped without the lock"]
    pub fn delete(&mut self, token: &Token) -> Option<T> {
        self.end(token, Sense::TOKEN_DELETED)
    }

    /// Ends every token whose maker `which` names.
    #[must_use = "what they stood for is dropped without the lock"]
    pub fn revoke(&mut self, which: impl Fn(&Maker) -> bool) -> Vec<T> {
        self.end_all(|held| which(&held.maker), Sense::TOKEN_REVOKED)
    }

    /// Whether the time of any is up.
    pub fn is_due(&self, now: Instant) -> bool {
        self.live.values().any(|held| held.is_due(now))
    }

    /// Ends every token whose time is up.
    #[must_use = "what they stood for is dropped without the lock"]
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        self.end_all(|held| held.is_due(now), Sense::TOKEN_EXPIRED)
    }

    /// The tokens of the units that `which` names.
    pub fn of_units(&self, which: impl Fn(&[u8; 16]) -> bool) -> Vec<Token> {
        let listed = self.live.iter().filter(|(_, held)| which(&held.maker.unit));
        listed.map(|(token, _)| token.clone()).collect()
    }

    fn end_all(&mut self, which: impl Fn(&Held<T>) -> bool, why: Sense) -> Vec<T> {
        let ending: Vec<_> =
            self.live.iter().filter(|(_, held)| which(held)).map(|(token, _)| token.clone()).collect();
        ending.iter().filter_map(|token| self.end(token, why)).collect()
    }

    fn end(&mut self, token: &Token, why: Sense) -> Option<T> {
        let (token, held) = self.live.remove_entry(token)?;
        if self.ended.len() >= TOKENS_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((token, why));
        Some(held.what)
    }

    /// Why a token is none: it ended, or nobody remembers it, or it never was ours.
    fn why_not(&self, token: &Token) -> Sense {
        let ended = self.ended.iter().find(|(ended, _)| ended == token);
        ended.map_or(Sense::TOKEN_UNKNOWN, |(_, why)| *why)
    }
}

#[cfg(test)]
mod tests;
