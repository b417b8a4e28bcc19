//! One JSON object for programs, written piece by piece, for what is too long to be held as a value.
//!
//! What always holds: it is one whole object, also when the work fails half way; then its last field is `error`, in the
//! shape of all errors, and the exit status is that of the error. Without a failure `error` is `null`.

use crate::{output::SHAPES, report::Failure};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;
use umbra_base::{Error, ExitCode, Result};

/// Something open, which may already have members.
struct Open {
    close: &'static str,
    members: bool,
}

/// The object being written.
pub struct JsonStream<'w> {
    out: &'w mut dyn Write,
    open: Vec<Open>,
}

impl<'w> JsonStream<'w> {
    /// Writes what `fill` puts into the object, and ends it.
    pub fn write(
        out: &'w mut dyn Write,
        fill: impl FnOnce(&mut JsonStream<'w>) -> Result<()>,
    ) -> Result<ExitCode> {
        let mut json = JsonStream { out, open: Vec::new() };
        json.put("{")?;
        json.open.push(Open { close: "\n}\n", members: false });
        json.field("umbra", &SHAPES)?;
        let filled = fill(&mut json);
        while json.open.len() > 1 {
            json.close()?;
        }
        let failure = filled.as_ref().err().map(|error| Failure::from(error).error);
        json.field("error", &failure)?;
        json.close()?;
        Ok(filled.map_or_else(|error| error.code().exit(), |()| ExitCode::Done))
    }

    /// A field of the object that is open.
    pub fn field(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.name(name)?;
        self.value(value)
    }

    /// All fields of `value`, which is an object.
    pub fn fields(&mut self, value: &impl Serialize) -> Result<()> {
        let fields = serde_json::to_value(value).map_err(failed)?;
        let empty = Map::new();
        let fields = fields.as_object().unwrap_or(&empty);
        fields.iter().try_for_each(|(name, value): (&String, &Value)| self.field(name, value))
    }

    /// Opens a list as a field.
    pub fn list(&mut self, name: &str) -> Result<()> {
        self.name(name)?;
        self.put("[")?;
        self.open.push(Open { close: "]", members: false });
        Ok(())
    }

    /// A member of the list that is open.
    pub fn item(&mut self, value: &impl Serialize) -> Result<()> {
        self.separate()?;
        self.value(value)
    }

    /// Opens an object as a member of the list that is open.
    pub fn open_item(&mut self) -> Result<()> {
        self.separate()?;
        self.put("{")?;
        self.open.push(Open { close: "}", members: false });
        Ok(())
    }

    /// Ends what was opened last.
    pub fn close(&mut self) -> Result<()> {
        self.open.pop().map_or(Ok(()), |open| self.put(open.close))
    }

    fn name(&mut self, name: &str) -> Result<()> {
        self.separate()?;
        self.value(&name)?;
        self.put(": ")
    }

    fn separate(&mut self) -> Result<()> {
        let first = self.open.last_mut().is_none_or(|open| !std::mem::replace(&mut open.members, true));
        self.put(if first { "\n" } else { ",\n" })
    }

    fn value(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.out, value).map_err(failed)
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(failed)
    }
}

fn failed(source: impl Into<std::io::Error>) -> Error {
    Error::io("write to stdout", source.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_base::ErrorCode;

    fn written(fill: impl FnOnce(&mut JsonStream<'_>) -> Result<()>) -> (Value, ExitCode) {
        let mut out = Vec::new();
        let exit = JsonStream::write(&mut out, fill).unwrap();
        (serde_json::from_slice(&out).unwrap(), exit)
    }

    #[test]
    fn an_object_is_whole_with_all_that_was_put_into_it() {
        let (told, exit) = written(|json| {
            json.fields(&serde_json::json!({ "a": 1, "b": [2] }))?;
            json.list("empty")?;
            json.close()?;
            json.list("devices")?;
            json.open_item()?;
            json.field("id", &7)?;
            json.close()?;
            json.item(&"x")
        });
        let expected = serde_json::json!({
            "umbra": 1, "a": 1, "b": [2], "empty": [], "devices": [{ "id": 7 }, "x"], "error": null
        });
        assert_eq!((told, exit), (expected, ExitCode::Done));
    }

    #[test]
    fn a_failure_half_way_is_the_last_field_of_a_whole_object() {
        let (told, exit) = written(|json| {
            json.list("devices")?;
            json.open_item()?;
            json.list("mappings")?;
            json.item(&1)?;
            Err(Error::new(ErrorCode::Corrupt, "block 41 is no tree node"))
        });
        assert_eq!(told["devices"], serde_json::json!([{ "mappings": [1] }]));
        assert_eq!((&told["error"]["code"], exit), (&Value::from("corrupt"), ExitCode::Damage));
    }
}
