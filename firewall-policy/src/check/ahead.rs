//! Files read before it is their turn, several at a time.
//!
//! Which file comes when decides what is said of it, so files take their turns one
//! after the other (see [`units`](super::units)). To read one needs nothing of the
//! others, and takes most of the time.

use std::collections::HashMap;

use super::Context;
use crate::compile::parallel;
use crate::diagnostic::Sink;
use crate::read;
use crate::schema::file::File;
use crate::schema::reader::Reader;
use crate::source::{Files, Refusal, resolve_path};
use crate::text;

/// Bytes for which a thread is worth its while.
const WORTH_A_THREAD: usize = 64 << 10;

/// A file by itself.
#[derive(Debug)]
pub(crate) struct Taken {
    /// `None` if it cannot be used, which is in `found`.
    pub(crate) file: Option<File>,
    /// What is to be said of it.
    pub(crate) found: Sink,
}

/// Files by their paths; each is taken out when its turn has come.
#[derive(Debug, Default)]
pub(crate) struct Ahead(HashMap<String, Result<Taken, Refusal>>);

impl Ahead {
    /// Reads files and what they include, up to `most` files.
    pub(crate) fn read(context: &Context<'_>, paths: &[String], most: usize) -> Self {
        let mut ahead = HashMap::new();
        let mut next = paths.to_vec();
        while !next.is_empty() && ahead.len() + next.len() <= most {
            let read = several(context, std::mem::take(&mut next));
            for (path, taken) in &read {
                let file = taken.as_ref().ok().and_then(|taken| taken.file.as_ref());
                let include = file.map(|file| file.include.as_slice()).unwrap_or_default();
                let named = include.iter().filter_map(|name| resolve_path(path, &name.value).ok());
                next.extend(named);
            }
            ahead.extend(read);
            next.sort_unstable();
            next.dedup();
            next.retain(|path| !ahead.contains_key(path));
        }
        Self(ahead)
    }

    /// A file whose turn has come.
    ///
    /// # Errors
    /// If the tree does not give it.
    pub(crate) fn take(&mut self, context: &Context<'_>, path: &str) -> Result<Taken, Refusal> {
        self.0.remove(path).unwrap_or_else(|| one(context.files, path, context.allow_unsupported))
    }
}

fn several(context: &Context<'_>, paths: Vec<String>) -> Vec<(String, Result<Taken, Refusal>)> {
    let Context { files, allow_unsupported, .. } = *context;
    // A file may say it has more than would be read of it.
    let size = |path: &String| files.size(path).min(text::MAX_BYTES);
    parallel::each(paths, size, WORTH_A_THREAD, |path| {
        let taken = one(files, &path, allow_unsupported);
        (path, taken)
    })
}

fn one(files: &dyn Files, path: &str, allow_unsupported: bool) -> Result<Taken, Refusal> {
    let bytes = files.read(path, text::MAX_BYTES)?.bytes;
    let mut found = Sink::default();
    let source = text::decode(files.shown(path), bytes, &mut found);
    let file = source.and_then(|source| {
        let root = read::parse(&source, &mut found)?;
        Reader { sink: &mut found, allow_unsupported }.file(&source, &root)
    });
    Ok(Taken { file, found })
}
