//! What is told of a creation while it runs, and what is written down of it when it has ended (S5).

use super::{Events, plan::Planned};
use std::time::Duration;
use umbra_api::v1;
use umbra_base::Instant;
use umbra_vss::{Consistency, Created, Phase, Span, SpanOutcome, Timeline, VolumeReached};

/// How much of a timeline the requester has been told.
#[derive(Debug, Default)]
pub struct Told {
    began: usize,
    ended: usize,
}

impl Told {
    /// Tells what is new. A requester that does not listen misses it: the creation never waits for one (S7).
    pub fn tell(&mut self, timeline: &Timeline, events: &Events) {
        let Some(begin) = timeline.spans.first().map(|span| span.start) else { return };
        for span in timeline.spans.iter().skip(self.began) {
            send(events, phase(begin, span, "", Duration::ZERO));
            self.began += 1;
        }
        for span in timeline.spans.iter().skip(self.ended) {
            let Some(end) = span.end else { break };
            send(events, phase(begin, span, outcome(span), end.since(span.start)));
            self.ended += 1;
        }
    }
}

fn send(events: &Events, phase: v1::Phase) {
    let event = v1::CreateEvent { event: Some(v1::create_event::Event::Phase(phase)) };
    let _ = events.try_send(Ok(event));
}

fn phase(begin: Instant, span: &Span, outcome: &str, duration: Duration) -> v1::Phase {
    let notes = span.turn.iter().chain(&span.notes).map(String::as_str);
    v1::Phase {
        name: span.phase.as_str().to_owned(),
        start_us: micros(span.start.since(begin)),
        duration_us: micros(duration),
        outcome: outcome.to_owned(),
        note: notes.collect::<Vec<_>>().join("; "),
    }
}

fn outcome(span: &Span) -> &'static str {
    match span.outcome {
        SpanOutcome::Done => "ok",
        other => other.as_str(),
    }
}

/// A timeline as the array keeps it; `notes` belong to the release of the file systems.
fn phases(timeline: &Timeline, notes: &[String]) -> Vec<v1::Phase> {
    let Some(begin) = timeline.spans.first().map(|span| span.start) else { return Vec::new() };
    let whole = |span: &Span| {
        let duration = span.end.map(|end| end.since(span.start)).unwrap_or_default();
        let mut phase = phase(begin, span, outcome(span), duration);
        if span.phase == Phase::Release {
            let told = Some(phase.note).filter(|note| !note.is_empty());
            phase.note = told.iter().chain(notes).cloned().collect::<Vec<_>>().join("; ");
        }
        phase
    };
    timeline.spans.iter().map(whole).collect()
}

/// What the array is to record of a set that is there.
pub fn update(planned: &Planned, created: &Created, notes: &[String]) -> v1::UpdateSetRequest {
    let copies = planned.spec.copies.iter().map(|copy| {
        let reached = created.volumes.iter().find(|reached| reached.volume == copy.volume);
        reached.map_or_else(|| copy.clone(), |reached| with_consistency(copy, reached, &planned.remarks))
    });
    v1::UpdateSetRequest {
        set_key: created.set.to_string(),
        timeline: phases(&created.timeline, notes),
        copies: copies.collect(),
        luns: Vec::new(),
    }
}

fn with_consistency(copy: &v1::CopyRecord, reached: &VolumeReached, remarks: &[String]) -> v1::CopyRecord {
    let consistency = match reached.level {
        Consistency::Crash => v1::Consistency::Crash,
        Consistency::FileSystem => v1::Consistency::FileSystem,
        Consistency::Application => v1::Consistency::Application,
    };
    v1::CopyRecord {
        consistency: consistency.into(),
        consistency_reason: reached.reasons.iter().chain(remarks).cloned().collect::<Vec<_>>().join("; "),
        ..copy.clone()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn span(phase: Phase, start: u64, end: Option<u64>) -> Span {
        let outcome = if end.is_some() { SpanOutcome::Done } else { SpanOutcome::Running };
        let at = Instant::from_nanos;
        Span { phase, turn: None, start: at(start), end: end.map(at), outcome, notes: Vec::new() }
    }

    #[tokio::test]
    async fn each_phase_is_told_once_when_it_begins_and_once_when_it_ends() {
        let (events, mut heard) = mpsc::channel(16);
        let mut told = Told::default();
        let mut timeline = Timeline { spans: vec![span(Phase::PrepareWriters, 5_000, None)] };
        told.tell(&timeline, &events);
        told.tell(&timeline, &events);
        timeline.spans =
            vec![span(Phase::PrepareWriters, 5_000, Some(9_000)), span(Phase::ArmGuard, 9_000, None)];
        told.tell(&timeline, &events);
        drop(events);
        let mut seen = Vec::new();
        while let Some(Ok(event)) = heard.recv().await {
            let Some(v1::create_event::Event::Phase(phase)) = event.event else { panic!() };
            seen.push((phase.name, phase.start_us, phase.duration_us, phase.outcome));
        }
        let expected =
            [("prepare_writers", 0, 0, ""), ("arm_guard", 4, 0, ""), ("prepare_writers", 0, 4, "ok")];
        assert_eq!(
            seen,
            expected.map(|(name, start, long, end)| (name.to_owned(), start, long, end.to_owned()))
        );
    }
}
