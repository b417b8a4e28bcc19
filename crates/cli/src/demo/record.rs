//! What the steps did: told as text while they go, or as one object at the end.

use super::{
    scene::Scene,
    trouble::{Told, Trouble},
};
use crate::output::{self, Format, Output};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use umbra_base::{Error, Result};

/// What a step is going to do: known before it is done.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Stable, for programs.
    pub name: &'static str,
    /// What it does and shows.
    pub shows: &'static str,
    /// What must hold.
    pub check: &'static str,
}

/// A step while and after it was done.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub shows: &'static str,
    pub check: &'static str,
    pub ok: bool,
    pub ms: u64,
    /// The `umbra` commands that it ran.
    pub commands: Vec<String>,
    /// What was seen, in the order in which it was.
    #[serde(serialize_with = "as_map")]
    pub facts: Vec<(String, Value)>,
    /// Why the check did not hold.
    pub trouble: Option<String>,
}

impl Step {
    fn new(head: Head) -> Self {
        let Head { name, shows, check } = head;
        Step { name, shows, check, ok: false, ms: 0, commands: Vec::new(), facts: Vec::new(), trouble: None }
    }

    /// Notes something that was seen.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.push((name.to_owned(), value.into()));
    }
}

fn as_map<S: Serializer>(facts: &[(String, Value)], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, value)| (name, value)))
}

/// The story as told so far.
#[derive(Debug)]
pub struct Recorder {
    output: Output,
    folder: String,
    database: String,
    begun: Instant,
    steps: Mutex<Vec<Step>>,
    trouble: Mutex<Option<String>>,
}

#[derive(Serialize)]
struct Story<'a> {
    ok: bool,
    ms: u64,
    database: &'a str,
    folder: &'a str,
    trouble: Option<&'a str>,
    steps: &'a [Step],
}

impl Recorder {
    pub fn new(output: Output, scene: &Scene) -> Self {
        let recorder = Recorder {
            output,
            folder: scene.folder.display().to_string(),
            database: scene.tools.database.describe(),
            begun: Instant::now(),
            steps: Mutex::new(Vec::new()),
            trouble: Mutex::new(None),
        };
        recorder.say(&format!(
            "Umbra, the whole story, in {}\nDatabase: {}\n",
            recorder.folder, recorder.database
        ));
        recorder
    }

    /// Does one step and records it, however it ends.
    pub async fn step<T>(&self, head: Head, act: impl AsyncFnOnce(&mut Step) -> Told<T>) -> Told<T> {
        self.say(&format!("{}\n  {}", head.name, head.shows));
        let begun = Instant::now();
        let mut step = Step::new(head);
        let told = act(&mut step).await;
        step.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        step.ok = told.is_ok();
        step.trouble = told.as_ref().err().map(Trouble::to_string);
        self.tell(&step);
        locked(&self.steps).push(step);
        told
    }

    fn tell(&self, step: &Step) {
        for command in &step.commands {
            self.say(&format!("  $ {command}"));
        }
        for (name, value) in &step.facts {
            self.say(&fact_lines(name, value));
        }
        match &step.trouble {
            None => self.say(&format!("  ok, {} ms: {}\n", step.ms, step.check)),
            Some(trouble) => self.say(&format!("  FAILED, {} ms: {}\n  {trouble}\n", step.ms, step.check)),
        }
    }

    /// Notes how the story as a whole ended, where no step tells it.
    pub fn ended(&self, told: Told<()>) {
        let Err(trouble) = told else { return };
        self.say(&format!("The story ends here: {trouble}\n"));
        *locked(&self.trouble) = Some(trouble.to_string());
    }

    pub fn all_held(&self) -> bool {
        locked(&self.trouble).is_none() && locked(&self.steps).iter().all(|step| step.ok)
    }

    /// The end of the text, or the whole as one object.
    pub fn print(&self) -> Result<()> {
        let ok = self.all_held();
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.output.format == Format::Text {
            let steps = locked(&self.steps).len();
            let verdict = if ok { "every check held" } else { "NOT every check held" };
            self.say(&format!("{steps} steps in {}.{} s: {verdict}", ms / 1000, ms % 1000 / 100));
            return Ok(());
        }
        let (steps, trouble) = (locked(&self.steps), locked(&self.trouble));
        let story = Story {
            ok,
            ms,
            database: &self.database,
            folder: &self.folder,
            trouble: trouble.as_deref(),
            steps: &steps,
        };
        match output::json(&mut io::stdout().lock(), &story) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|source| Error::io("write to stdout", source)),
        }
    }

    fn say(&self, text: &str) {
        if self.output.format == Format::Text {
            let mut out = io::stdout().lock();
            drop(writeln!(out, "{text}").and_then(|()| out.flush())); // nobody reads: the exit status still tells
        }
    }
}

fn fact_lines(name: &str, value: &Value) -> String {
    let name = name.replace('_', " ");
    match value {
        Value::String(text) => format!("    {name}: {}", text.replace('\n', "\n      ")),
        Value::Array(items) => {
            let lines: Vec<_> = items.iter().map(|item| format!("\n      {}", plain(item))).collect();
            format!("    {name}:{}", lines.concat())
        }
        other => format!("    {name}: {other}"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
