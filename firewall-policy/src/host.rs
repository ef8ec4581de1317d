//! A compiled generation, read as the datapath reads it.

use firewall_common::abi::tables::Setting;
use firewall_common::policy::{MISSING, Settings, Tables};

use crate::compile::Generation;

/// The tables of a generation in ordinary memory, for
/// [`firewall_common::policy::decide`].
#[derive(Clone, Copy, Debug)]
pub struct HostTables<'a> {
    words: &'a [u32],
    settings: &'a [u32; Setting::COUNT],
}

impl<'a> HostTables<'a> {
    /// The tables of a generation.
    #[must_use]
    pub fn new(generation: &'a Generation) -> Self {
        Self { words: &generation.words, settings: &generation.settings }
    }
}

impl Settings for HostTables<'_> {
    #[inline]
    fn setting(&self, setting: Setting) -> u32 {
        self.settings[setting as usize]
    }
}

impl Tables for HostTables<'_> {
    #[inline]
    fn word(&self, index: u32) -> u32 {
        self.words.get(index as usize).copied().unwrap_or(MISSING)
    }
}
