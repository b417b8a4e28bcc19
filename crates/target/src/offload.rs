//! Copy offload by ROD tokens, on a worker: POPULATE TOKEN, WRITE USING TOKEN, REPORT ALL ROD TOKENS (SPC-4 section
//! 5.17, SBC-3 sections 5.7 and 5.46).
//!
//! ```text
//!   POPULATE TOKEN:     the unit's point in time + ranges + random bytes --> Token, told by RECEIVE ROD TOKEN INFORMATION
//!   WRITE USING TOKEN:  Token --> pieces --> steps: blocks shared where both ends lie alike, copied where not
//! ```
//!
//! Whose right a token is: whoever presents all of its bytes may write what it stands for to a unit that he may write,
//! whether or not he sees the unit that it was made of. That is what tokens are for, hosts pass them on to each other.
//! What design A1 takes from a host ends its tokens with it: they are revoked when the initiator that made them loses
//! the unit (mask, delete, takeover), wherever they have gone meanwhile, so that no host reads through a token what it
//! may read no more. The initiator's own uses are behind the fence that takes the unit away; those of others end with
//! the step that they are in. A session that ends, or a reset, ends no token.
//!
//! What always holds: a token stands for one instant between the command that made it and its status; a use goes on
//! only while its token lives.

use crate::common::Common;
use crate::copy::{Entry, Trouble};
use crate::limits::TOKEN_STEP;
use crate::outcome::Outcome;
use crate::shard::now;
use crate::slot::lock;
use crate::slow::{Run, Viewer};
use crate::tokens::Maker;
use crate::unit::LogicalUnit;
use std::sync::Arc;
use std::time::Duration;
use umbra_scsi::copy::{
    self, Keep, ListId, Move, Named, Piece, Populate, Progress, RodType, Service, Token, Use,
};
use umbra_scsi::limits::BLOCK;
use umbra_scsi::{Extent as Blocks, Sense};

/// What a token stands for.
pub(crate) struct Source<U> {
    /// The point in time.
    unit: Arc<U>,
    ranges: Arc<[Blocks]>,
}

impl<U> Clone for Source<U> {
    fn clone(&self) -> Self {
        Source { unit: self.unit.clone(), ranges: self.ranges.clone() }
    }
}

impl<U: LogicalUnit> Common<U> {
    /// Revokes every token whose maker `which` names. False: there was none.
    pub(crate) fn revoke_tokens(&self, which: impl Fn(&Maker) -> bool) -> bool {
        let revoked = lock(&self.tokens).revoke(which);
        !revoked.is_empty()
    }
}

/// A token in use, until this is dropped.
struct Using<'a, U: LogicalUnit> {
    common: &'a Common<U>,
    token: &'a Token,
    source: Source<U>,
}

impl<'a, U: LogicalUnit> Using<'a, U> {
    fn begin(common: &'a Common<U>, token: &'a Token) -> Result<Self, Sense> {
        let source = lock(&common.tokens).begin_use(now(), token)?;
        Ok(Using { common, token, source })
    }

    /// Whether the token still lives.
    fn check(&self) -> Result<(), Sense> {
        lock(&self.common.tokens).check(self.token)
    }
}

impl<U: LogicalUnit> Drop for Using<'_, U> {
    fn drop(&mut self) {
        lock(&self.common.tokens).end_use(now(), self.token);
    }
}

impl<U: LogicalUnit> Run<'_, U> {
    pub(crate) fn populate_token(&self, id: ListId, list: &[u8]) -> Result<(), Sense> {
        let viewer = self.viewer()?;
        let request = self.with_view(|view| copy::parse_populate(list, view))?;
        let book = viewer.entry(Some(id));
        book.begin(Service::PopulateToken, Keep::UntilAsked)?;
        let made = self.make_token(viewer, &request);
        if made.is_ok() {
            // Too late to be aborted: the token is there.
            let _goes_on = book.advance(Progress { segments: 0, blocks: request.blocks() });
        }
        book.end(&made.as_ref().map(|_| true).map_err(|sense| *sense), made.as_ref().ok().cloned());
        made.map(drop)
    }

    fn make_token(&self, viewer: &Viewer<U>, request: &Populate) -> Result<Token, Sense> {
        let common = &self.job.common;
        let host = viewer.nexus.initiator.name().to_owned();
        let begun = lock(&common.tokens).begin(&host);
        // What made room is let go here, without the lock.
        let (number, _room) = begun?;
        let unit = self.unit().point_in_time().map_err(|error| {
            self.failed("point in time", &error);
            Sense::INSUFFICIENT_RESOURCES_FOR_ROD
        })?;
        let secret = secret().map_err(|error| {
            tracing::error!(session = self.job.session, %error, "no random bytes for a token");
            Sense::INTERNAL_TARGET_FAILURE
        })?;
        let kind = request.kind.unwrap_or(RodType::PointInTime);
        let token = self.with_view(|view| Token::new(view, kind, request.blocks(), number, secret));
        let maker = Maker { host, unit: self.job.slot.identity.uuid };
        let source = Source { unit, ranges: request.ranges.as_slice().into() };
        let life = Duration::from_secs(request.seconds.into());
        lock(&common.tokens).enter(now(), token.clone(), maker, life, source);
        Ok(token)
    }

    pub(crate) fn write_using_token(&self, id: ListId, list: &[u8]) -> Result<(), Sense> {
        let viewer = self.viewer()?;
        let request = self.with_view(|view| copy::parse_use(list, view))?;
        let book = viewer.entry(Some(id));
        book.begin(Service::WriteUsingToken, Keep::UntilAsked)?;
        let written = match &request.token {
            Named::Zeroes => self.write_zeroes(&request.ranges, &book),
            Named::Token(token) => self.write_rod(token, &request, &book),
        };
        let result = written.and_then(|all| self.settle(self.by_cache()).map(|()| all));
        book.end(&result, None);
        match result? {
            true => Ok(()),
            false => Err(Sense::COPY_FAILED),
        }
    }

    /// The block device zero ROD token: there is as much of it as anyone wants. False if it was aborted.
    fn write_zeroes(&self, ranges: &[Blocks], book: &Entry<'_>) -> Result<bool, Sense> {
        let mut progress = Progress::default();
        for range in ranges {
            let piece = Piece { from: *range, to: range.lba };
            for Move { to, .. } in self.steps(piece) {
                let slot = &self.job.slot;
                let inside = slot.state.exclusion.enter_scoped(self.job.stripe);
                let zeroed = slot.unit.write_zeroes(to.offset(), to.bytes());
                zeroed.map_err(|error| self.failed("write", &error))?;
                drop(inside);
                progress.blocks += to.blocks;
                if !book.advance(progress) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// False if it was aborted.
    fn write_rod(&self, token: &Token, request: &Use, book: &Entry<'_>) -> Result<bool, Sense> {
        let common = &self.job.common;
        let using = Using::begin(common, token)?;
        let mut progress = Progress::default();
        for piece in copy::lay_out(&using.source.ranges, request.offset, &request.ranges)? {
            for step in self.steps(piece) {
                using.check()?;
                let _inside = self.job.slot.state.exclusion.enter_scoped(self.job.stripe);
                let copied = self.transfer(&using.source.unit, &self.job.slot, step);
                copied.map_err(|trouble| self.rod_failed(&trouble))?;
                progress.blocks += step.to.blocks;
                if !book.advance(progress) {
                    return Ok(false);
                }
            }
        }
        if request.delete {
            let deleted = lock(&common.tokens).delete(token);
            drop(deleted);
        }
        Ok(true)
    }

    /// The steps of a piece. All but the first and the last begin and end with a block of the store, so that whole
    /// blocks of any size can be shared.
    fn steps(&self, piece: Piece) -> impl Iterator<Item = Move> + use<U> {
        let block = (u64::from(self.unit().allocation_bytes()) / BLOCK).max(1);
        let step = (TOKEN_STEP / BLOCK / block).max(1) * block;
        let Piece { from, to } = piece;
        let end = to + from.blocks;
        let starts = std::iter::successors(Some(to), move |at| Some((at / step + 1) * step));
        starts.take_while(move |at| *at < end).map(move |at| {
            let blocks = ((at / step + 1) * step).min(end) - at;
            Move { from: Blocks { lba: from.lba + (at - to), blocks }, to: Blocks { lba: at, blocks } }
        })
    }

    /// What cannot be read is not the fault of the unit that the command came to.
    fn rod_failed(&self, Trouble(operation, error): &Trouble) -> Sense {
        match (*operation, self.failed(operation, error)) {
            ("read", _) => Sense::THIRD_PARTY_DEVICE_FAILURE,
            (_, sense) => sense,
        }
    }

    /// The tokens of units that the initiator sees; of others it is not to know (design A1).
    pub(crate) fn report_tokens(&self, allocation: usize) -> Result<Outcome, Sense> {
        let luns = &self.viewer()?.luns;
        let is_seen = |unit: &[u8; 16]| luns.values().any(|slot| slot.identity.uuid == *unit);
        let tokens = lock(&self.job.common.tokens).of_units(is_seen);
        Ok(Outcome::reply(copy::report_tokens(&tokens, allocation)))
    }
}

/// What makes a token unguessable.
fn secret() -> Result<[u8; 32], getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
