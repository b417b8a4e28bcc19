//! The record of a creation, phase by phase (S5). The service stores it with the set and prints it.

use std::time::Duration;
use umbra_base::Instant;

use crate::Phase;

/// How a phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOutcome {
    /// It has not.
    Running,
    /// All of its tasks succeeded.
    Done,
    /// A task failed, or a participant was lost.
    Failed,
    /// Its limit ran out.
    Expired,
}

impl SpanOutcome {
    /// The word in timelines.
    pub fn as_str(self) -> &'static str {
        match self {
            SpanOutcome::Running => "running",
            SpanOutcome::Done => "done",
            SpanOutcome::Failed => "failed",
            SpanOutcome::Expired => "expired",
        }
    }
}

/// One phase, or one level or provider of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which phase.
    pub phase: Phase,
    /// The level or the provider, where the phase has several turns.
    pub turn: Option<String>,
    /// When its tasks were started.
    pub start: Instant,
    /// When the last ended.
    pub end: Option<Instant>,
    /// How.
    pub outcome: SpanOutcome,
    /// What else is worth knowing, in sentences.
    pub notes: Vec<String>,
}

/// All phases that had anything to do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// The spans.
    pub spans: Vec<Span>,
}

impl Timeline {
    pub(crate) fn open(&mut self, phase: Phase, turn: Option<String>, start: Instant) {
        self.spans.push(Span {
            phase,
            turn,
            start,
            end: None,
            outcome: SpanOutcome::Running,
            notes: Vec::new(),
        });
    }

    pub(crate) fn close(&mut self, end: Instant, outcome: SpanOutcome) {
        if let Some(span) = self.spans.last_mut().filter(|span| span.end.is_none()) {
            span.end = Some(end);
            span.outcome = outcome;
        }
    }

    /// Closes the span of an unwinding or a success: something was noted in it only if it went wrong.
    pub(crate) fn close_by_notes(&mut self, end: Instant) {
        let clean = self.spans.last().is_none_or(|span| span.notes.is_empty());
        self.close(end, if clean { SpanOutcome::Done } else { SpanOutcome::Failed });
    }

    pub(crate) fn note(&mut self, text: String) {
        if let Some(span) = self.spans.last_mut() {
            span.notes.push(text);
        }
    }

    /// From the start of the first span of `from` to the end of the last span of `to`.
    pub fn between(&self, from: Phase, to: Phase) -> Option<Duration> {
        let start = self.spans.iter().find(|span| span.phase == from)?.start;
        let end = self.spans.iter().rev().find(|span| span.phase == to)?.end?;
        Some(end.since(start))
    }
}
