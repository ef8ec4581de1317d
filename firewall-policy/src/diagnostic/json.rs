//! Diagnostics for programs.

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::{Diagnostic, Label};

/// `{ file, line, column, end-column, start, end, text }`: line and columns
/// count from 1 in characters, `start` and `end` are byte offsets in the file.
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first_line = self.span.text().split('\n').next().unwrap_or_default();
        let mut label = serializer.serialize_struct("Label", 7)?;
        label.serialize_field("file", &self.span.source.name)?;
        label.serialize_field("line", &self.span.line())?;
        label.serialize_field("column", &self.span.column())?;
        label.serialize_field("end-column", &(self.span.column() + first_line.chars().count()))?;
        label.serialize_field("start", &self.span.start)?;
        label.serialize_field("end", &self.span.end)?;
        label.serialize_field("text", &self.text)?;
        label.end()
    }
}

/// `{ code, severity, message, labels, notes, help }`; the first label is the
/// primary one.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut diagnostic = serializer.serialize_struct("Diagnostic", 6)?;
        diagnostic.serialize_field("code", self.code.id())?;
        diagnostic.serialize_field("severity", self.code.severity().name())?;
        diagnostic.serialize_field("message", &self.message)?;
        diagnostic.serialize_field("labels", &self.labels)?;
        diagnostic.serialize_field("notes", &self.notes)?;
        diagnostic.serialize_field("help", &self.help)?;
        diagnostic.end()
    }
}
