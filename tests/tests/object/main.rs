//! The BPF object itself: what the source asks for, and the compiler may undo.
//!
//! Needs no root: nothing is loaded.

mod code;
mod elf;
mod layout;
