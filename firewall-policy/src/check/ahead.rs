//! Files read before it is their turn, several at a time.
//!
//! Which file comes when decides what is said of it, so files take their turns one
//! after the other (see [`units`](super::units)). To read one needs nothing of the
//! others, and takes most of the time.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

use super::Context;
use crate::compile::parallel;
use crate::diagnostic::Sink;
use crate::read;
use crate::schema::file::File;
use crate::schema::reader::Reader;
use crate::source::{Refusal, resolve_path};
use crate::text;

/// Bytes for which a thread is worth its while.
const WORTH_A_THREAD: usize = 64 << 10;
/// More threads than there are large files to read.
const MAX_THREADS: usize = 8;

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
        self.0.remove(path).unwrap_or_else(|| {
            let bytes = context.files.read(path, text::MAX_BYTES)?.bytes;
            let text = Text { path: String::new(), shown: context.files.shown(path), bytes };
            Ok(one(text, context.allow_unsupported).1)
        })
    }
}

/// A file that has been fetched.
struct Text {
    path: String,
    shown: String,
    bytes: Vec<u8>,
}

fn several(context: &Context<'_>, paths: Vec<String>) -> Vec<(String, Result<Taken, Refusal>)> {
    let (mut read, mut texts) = (Vec::new(), Vec::new());
    for path in paths {
        let shown = context.files.shown(&path);
        match context.files.read(&path, text::MAX_BYTES) {
            Ok(file) => texts.push(Text { path, shown, bytes: file.bytes }),
            Err(refusal) => read.push((path, Err(refusal))),
        }
    }
    let allow_unsupported = context.allow_unsupported;
    let all = |texts: Vec<Text>| -> Vec<(String, Taken)> {
        texts.into_iter().map(|text| one(text, allow_unsupported)).collect()
    };
    let taken = parallel::all(shares(texts), all).into_iter().flatten();
    read.extend(taken.map(|(path, taken)| (path, Ok(taken))));
    read
}

/// Divides files so that each thread has as much to read as the others.
fn shares(mut texts: Vec<Text>) -> Vec<Vec<Text>> {
    let size = |text: &Text| text.bytes.len();
    let whole: usize = texts.iter().map(size).sum();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let count = (whole / WORTH_A_THREAD).clamp(1, cores.min(MAX_THREADS));
    let mut shares: Vec<(usize, Vec<Text>)> = (0..count).map(|_| (0, Vec::new())).collect();
    texts.sort_by_key(|text| std::cmp::Reverse(size(text)));
    for text in texts {
        if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += size(&text);
            share.push(text);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

fn one(text: Text, allow_unsupported: bool) -> (String, Taken) {
    let mut found = Sink::default();
    let source = text::decode(text.shown, text.bytes, &mut found);
    let file = source.and_then(|source| {
        let root = read::parse(&source, &mut found)?;
        Reader { sink: &mut found, allow_unsupported }.file(&source, &root)
    });
    (text.path, Taken { file, found })
}
