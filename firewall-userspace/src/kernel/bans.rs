//! Bans, as user space writes them; see [`firewall_common::ban`] for who may do what.
//!
//! A table is a map of its own: buckets, which the datapath reads, then for each place
//! what it does not (since when and why), then how many bans there are. It is pinned,
//! because nobody but an administrator of the whole system may ask a map of maps for
//! what stands in it.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::bpf_map_type;
use firewall_common::abi::ban::{
    Ban, BanKey, Bucket, CAPACITY, FILTER_WORDS, SLOTS, TableWord, UNIT_SHIFT,
};
use firewall_common::abi::control::Control;
use firewall_common::ban::write::{Entry, Memory, Writer};
use firewall_common::ban::{self, filter_bits};
use firewall_common::packet::Address;

use super::maps::{MMAPABLE, Maps};
use super::sys::{self, Mapping, Shape};

/// Under which the table that was in force when the maps were opened is known to them:
/// where there are no pins, there is no other.
pub(super) const TABLE_NAME: &str = "BAN_TABLE";

/// Names of the pins of both tables.
const TABLES: [&str; 2] = ["BAN_TABLE_0", "BAN_TABLE_1"];

/// Bans that a new table has room for at least.
const ROOM_MIN: usize = 2400;

/// What nobody is banned by.
const NONE: Ban = Ban { until_ns: 0, since_ns: 0, hits: 0, reason: [0; 40] };

/// Words of [`Control`].
const LENGTHS: usize = std::mem::offset_of!(Control, ban_v4_lengths) / 8;
const TABLE: usize = std::mem::offset_of!(Control, ban_table) / 8;
const SEED: usize = std::mem::offset_of!(Control, ban_seed) / 8;

/// The bans of this host.
#[derive(Debug)]
pub struct Bans {
    maps: OwnedFd,
    control: Mapping,
    filter: Mapping,
    /// Where tables are pinned; and who holds a lock on it is the one writer.
    directory: PathBuf,
    table: Table,
}

/// How a batch of bans came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Networks that were not banned.
    pub new: usize,
    /// Networks that were, whose end and reason are now others.
    pub renewed: usize,
}

/// How full the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bans, those included that ended since somebody looked.
    pub bans: u32,
    /// Bans that there can be before it is replaced by a larger one.
    pub room: u32,
    /// Bans that there can be at all.
    pub capacity: u32,
    /// Bytes of table and filter.
    pub bytes: u64,
}

/// Makes sure that there is a table, and opens it.
///
/// # Errors
/// If the kernel refuses one.
pub(super) fn prepare(maps: &Maps) -> Result<OwnedFd> {
    let (control, directory) = (control(maps)?, maps.directory());
    let _lock = lock(directory)?;
    let word = TableWord(control.word(TABLE));
    if word.buckets() != 0 {
        let fd = sys::open(&directory.join(name(word)))?;
        return fd.context("the table of bans is not pinned");
    }
    let mut seed = [0; 8];
    // SAFETY: the call fills at most as many bytes as the buffer has.
    let filled = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    if filled != 8 {
        bail!("could not draw a random number: {}", std::io::Error::last_os_error());
    }
    control.set_word(SEED, u64::from_ne_bytes(seed));
    let table = Table::create(TableWord::new(0, buckets(0)))?;
    table.publish(maps.fd("BANS")?, directory, &control)?;
    Ok(table.fd)
}

/// A map of two tables.
///
/// # Errors
/// The kernel's.
pub(super) fn create(name: &str) -> std::io::Result<OwnedFd> {
    let like = sys::create_map("ban_table", &shape(entries(1)))?;
    sys::create_map_of_maps(name, like.as_fd(), 2)
}

/// Takes a table of bans for the lifetime of what it gives.
fn lock(directory: &Path) -> Result<Option<File>> {
    // Tests do without pins: nobody else knows their maps.
    let Ok(file) = File::open(directory) else { return Ok(None) };
    file.lock().context("could not lock the table of bans")?;
    Ok(Some(file))
}

fn control(maps: &Maps) -> Result<Mapping> {
    let fd = maps.fd("CONTROL")?;
    Mapping::new(fd, size_of::<Control>(), true)
        .or_else(|_| Mapping::new(fd, size_of::<Control>(), false))
        .context("could not map the control word")
}

impl Bans {
    /// Opens the table of `maps`, with the pins of its directory.
    ///
    /// # Errors
    /// If the maps may not be read.
    pub fn open(maps: &Maps) -> Result<Self> {
        let directory = maps.directory().to_path_buf();
        let control = control(maps)?;
        let word = TableWord(control.word(TABLE));
        let fd = maps.fd("BAN_FILTER")?;
        let size = FILTER_WORDS as usize * 8;
        let filter = Mapping::new(fd, size, true)
            .or_else(|_| Mapping::new(fd, size, false))
            .context("could not map the filter of bans")?;
        let fd = if let Some(fd) = sys::open(&directory.join(name(word)))? {
            fd
        } else {
            let fd = maps.fd(TABLE_NAME).context("the table of bans is not pinned")?;
            sys::duplicate(&fd)?
        };
        let table = Table::map(fd, word)?;
        Ok(Self { maps: sys::duplicate(&maps.fd("BANS")?)?, control, filter, directory, table })
    }

    /// Adds or renews a ban.
    ///
    /// # Errors
    /// If the table is full: nothing in force is given up for a new ban.
    pub fn insert(&mut self, key: BanKey, ban: Ban) -> Result<()> {
        let _lock = self.write()?;
        if self.table.count() >= room(self.table.word)
            || self.table.insert(&key, &ban, self.seed()).is_none()
        {
            let larger = self.rebuilt(&[key], &ban)?;
            self.replace(larger)?;
        }
        self.announce(&key);
        Ok(())
    }

    /// Bans all of these networks alike or, on an error, none: they are written to
    /// another table, which is then put in this one's place. A network that is there
    /// twice is renewed the second time.
    ///
    /// # Errors
    /// If there is no room for all.
    pub fn insert_all(&mut self, keys: &[BanKey], ban: &Ban) -> Result<Added> {
        let _lock = self.write()?;
        let before = self.table.count() as usize;
        let table = self.rebuilt(keys, ban)?;
        let new = table.count() as usize - before;
        for key in keys {
            self.announce(key);
        }
        self.replace(table)?;
        Ok(Added { new, renewed: keys.len() - new })
    }

    /// Lifts a ban; false if there was none. What was announced of it stays until the
    /// next [`expire`](Self::expire), and costs its sources a look-up.
    ///
    /// # Errors
    /// If the table cannot be locked.
    pub fn remove(&mut self, key: BanKey) -> Result<bool> {
        let _lock = self.write()?;
        let mut writer = self.table.writer(self.seed());
        let Some(place) = writer.find(&key) else { return Ok(false) };
        writer.remove(place);
        self.table.set_count(self.table.count() - 1);
        Ok(true)
    }

    /// One ban, ended or not.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn get(&mut self, key: &BanKey) -> Result<Option<Ban>> {
        self.refresh()?;
        let writer = self.table.writer(self.seed());
        let entry = writer.find(key).and_then(|place| writer.entry(place));
        Ok(entry.map(|entry| self.table.ban(&entry)))
    }

    /// Every ban, ended ones included.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn all(&mut self) -> Result<Vec<(BanKey, Ban)>> {
        self.refresh()?;
        let entries: Vec<Entry> = self.table.writer(self.seed()).entries().collect();
        Ok(entries.iter().map(|entry| (entry.key, self.table.ban(entry))).collect())
    }

    /// How many bans hold at a time, and how many of them end until another.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn count(&mut self, now_ns: u64, soon_ns: u64) -> Result<(u64, u64)> {
        self.refresh()?;
        let [now, soon] = [now_ns, soon_ns].map(|time| time >> UNIT_SHIFT);
        let writer = self.table.writer(self.seed());
        let ends = writer.entries().map(|entry| u64::from(entry.until)).filter(|&end| end > now);
        Ok(ends.fold((0, 0), |(all, ending), end| (all + 1, ending + u64::from(end <= soon))))
    }

    /// How full the table is.
    ///
    /// # Errors
    /// If the table cannot be opened.
    pub fn usage(&mut self) -> Result<Usage> {
        self.refresh()?;
        let bytes = self.table.mapping.length() as u64 + u64::from(FILTER_WORDS) * 8;
        let room = room(self.table.word);
        Ok(Usage { bans: self.table.count(), room, capacity: CAPACITY, bytes })
    }

    /// Removes bans that ended before `now_ns`, and what is announced of bans that
    /// are no more; returns how many it removed.
    ///
    /// # Errors
    /// If the table cannot be locked.
    pub fn expire(&mut self, now_ns: u64) -> Result<usize> {
        let _lock = self.write()?;
        self.forget_other()?;
        let now = now_ns >> UNIT_SHIFT;
        let mut writer = self.table.writer(self.seed());
        let (mut ended, mut left) = (Vec::new(), Vec::new());
        for entry in writer.entries() {
            if u64::from(entry.until) <= now {
                ended.push(entry.place);
            } else {
                left.push(entry.key);
            }
        }
        for &place in &ended {
            writer.remove(place);
        }
        self.table.set_count(u32::try_from(left.len())?);
        self.announce_only(&left);
        // After a wave of bans their memory is given back.
        if left.len().max(ROOM_MIN) * 8 < room(self.table.word) as usize {
            let smaller = self.rebuilt(&[], &NONE)?;
            self.replace(smaller)?;
        }
        Ok(ended.len())
    }

    fn seed(&self) -> u64 {
        self.control.word(SEED)
    }

    /// Becomes the one writer, of the table in force.
    fn write(&mut self) -> Result<Option<File>> {
        let lock = lock(&self.directory)?;
        self.refresh()?;
        Ok(lock)
    }

    /// Turns to the table in force, if it is another now.
    fn refresh(&mut self) -> Result<()> {
        let word = TableWord(self.control.word(TABLE));
        if word != self.table.word {
            let path = self.directory.join(name(word));
            let fd = sys::open(&path)?.context("the table of bans is not pinned")?;
            self.table = Table::map(fd, word)?;
        }
        Ok(())
    }

    /// Another table with the bans of this one, these networks, and room for more.
    fn rebuilt(&mut self, keys: &[BanKey], ban: &Ban) -> Result<Table> {
        let count = self.table.count() as usize;
        let capacity = CAPACITY as usize;
        if count + keys.len() > capacity {
            let writer = self.table.writer(self.seed());
            let new = keys.iter().filter(|key| writer.find(key).is_none()).count();
            if count + new > capacity {
                bail!(
                    "the table of bans holds {CAPACITY}: {count} are there, {new} more would not fit"
                );
            }
        }
        self.forget_other()?;
        let seed = self.seed();
        // Room for as many again, unless they come all at once.
        let wanted = (count + keys.len()).max(2 * count).min(capacity);
        let which = self.table.word.which() ^ 1;
        let mut size = buckets(wanted);
        'larger: loop {
            let mut table = Table::create(TableWord::new(which, size))?;
            size += size / 4;
            let entries: Vec<Entry> = self.table.writer(seed).entries().collect();
            for entry in entries {
                let ban = self.table.ban(&entry);
                let Some(place) = table.insert(&entry.key, &ban, seed) else { continue 'larger };
                table.writer(seed).set_hits(place, entry.hits);
            }
            for key in keys {
                if table.insert(key, ban, seed).is_none() {
                    continue 'larger;
                }
            }
            return Ok(table);
        }
    }

    /// Puts a table in this one's place.
    fn replace(&mut self, table: Table) -> Result<()> {
        table.publish(self.maps.as_fd(), &self.directory, &self.control)?;
        self.table = table;
        Ok(())
    }

    /// Lets go of the table that was in force before: no packet has it any more.
    fn forget_other(&self) -> Result<()> {
        let which = self.table.word.which() ^ 1;
        let path = self.directory.join(TABLES[which as usize]);
        if path.exists() {
            sys::delete_element(self.maps.as_fd(), which)
                .context("could not let go of the former table of bans")?;
            fs::remove_file(&path)
                .with_context(|| format!("could not remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Tells the datapath that there may be such a ban.
    fn announce(&self, key: &BanKey) {
        let (word, bits) = filter_bits(ban::hash(self.seed(), key));
        self.filter.set_bits(word as usize, bits);
        let (word, bit) = length_bit(key);
        self.control.set_bits(word, 1 << bit);
    }

    /// Tells the datapath of these bans, and of no other.
    fn announce_only(&self, keys: &[BanKey]) {
        let (seed, mut lengths) = (self.seed(), [0_u64; 3]);
        let mut filter = vec![0_u64; FILTER_WORDS as usize];
        for key in keys {
            let (word, bit) = length_bit(key);
            if let Some(length) = lengths.get_mut(word - LENGTHS) {
                *length |= 1 << bit;
            }
            let (word, bits) = filter_bits(ban::hash(seed, key));
            if let Some(word) = filter.get_mut(word as usize) {
                *word |= bits;
            }
        }
        for (offset, length) in lengths.into_iter().enumerate() {
            self.control.clear_bits(LENGTHS + offset, !length);
        }
        for (word, bits) in filter.into_iter().enumerate() {
            self.filter.clear_bits(word, !bits);
        }
    }
}

/// One table, mapped.
#[derive(Debug)]
struct Table {
    fd: OwnedFd,
    word: TableWord,
    mapping: Mapping,
}

/// Words of a bucket.
const BUCKET: u32 = 16;
const _: () = assert!(size_of::<Bucket>() == 8 * BUCKET as usize);
/// Words of a note: since when, and the reason.
const NOTE: u32 = 6;

impl Table {
    fn create(word: TableWord) -> Result<Self> {
        let shape = shape(entries(word.buckets()));
        let fd = sys::create_map("ban_table", &shape).with_context(|| {
            let mebibytes = (u64::from(shape.entries) * u64::from(shape.value)) >> 20;
            format!("the kernel refuses a table of bans of {mebibytes} MiB")
        })?;
        Self::map(fd, word)
    }

    fn map(fd: OwnedFd, word: TableWord) -> Result<Self> {
        let length = entries(word.buckets()) as usize * size_of::<Bucket>();
        let mapping = Mapping::new(fd.as_fd(), length, true)
            .or_else(|_| Mapping::new(fd.as_fd(), length, false))
            .context("could not map the table of bans")?;
        Ok(Self { fd, word, mapping })
    }

    /// Pins the table and makes it the one in force.
    fn publish(&self, maps: BorrowedFd<'_>, directory: &Path, control: &Mapping) -> Result<()> {
        let path = directory.join(name(self.word));
        let _left_by_a_killed_one = fs::remove_file(&path);
        sys::pin(self.fd.as_fd(), &path)?;
        sys::set_element(maps, self.word.which(), &self.fd.as_raw_fd().to_ne_bytes())
            .context("could not place the table of bans")?;
        control.set_word(TABLE, self.word.0);
        Ok(())
    }

    fn writer(&mut self, seed: u64) -> Writer<'_, Mapping> {
        Writer { memory: &mut self.mapping, table: self.word, seed }
    }

    /// Adds or renews a ban; its place, `None` if there is no room for it.
    fn insert(&mut self, key: &BanKey, ban: &Ban, seed: u64) -> Option<u32> {
        let (place, is_new) = self.writer(seed).insert(key, ban::units(ban.until_ns))?;
        let note = self.note(place);
        self.mapping.set_word(note, ban.since_ns);
        for (word, bytes) in (note + 1..).zip(ban.reason.as_chunks::<8>().0) {
            self.mapping.set_word(word, u64::from_ne_bytes(*bytes));
        }
        if is_new {
            self.set_count(self.count() + 1);
        }
        Some(place)
    }

    /// What is known of an entry.
    fn ban(&self, entry: &Entry) -> Ban {
        let note = self.note(entry.place);
        let mut reason = [0; 40];
        for (word, bytes) in (note + 1..).zip(reason.as_chunks_mut::<8>().0) {
            *bytes = self.mapping.word(word).to_ne_bytes();
        }
        let until_ns = match entry.until {
            u32::MAX => u64::MAX,
            until => u64::from(until) << UNIT_SHIFT,
        };
        Ban { until_ns, since_ns: self.mapping.word(note), hits: entry.hits, reason }
    }

    /// First word of a place's note.
    fn note(&self, place: u32) -> usize {
        (self.word.buckets() * BUCKET + place * NOTE) as usize
    }

    fn count(&self) -> u32 {
        u32::try_from(self.mapping.word(self.last())).unwrap_or(u32::MAX)
    }

    fn set_count(&self, count: u32) {
        self.mapping.set_word(self.last(), count.into());
    }

    /// The word that says how many bans there are.
    fn last(&self) -> usize {
        self.mapping.length() / 8 - 1
    }
}

impl Memory for Mapping {
    fn load(&self, word: usize) -> u64 {
        self.word(word)
    }

    fn store(&mut self, word: usize, value: u64) {
        self.publish_word(word, value);
    }
}

fn name(word: TableWord) -> &'static str {
    TABLES[word.which() as usize]
}

fn shape(entries: u32) -> Shape {
    Shape {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
        key: 4,
        value: 8 * BUCKET,
        entries,
        // Each table may have a size of its own.
        flags: MMAPABLE | BPF_F_INNER_MAP,
    }
}

const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Entries of a table with so many buckets: these, their notes, and one for the count.
fn entries(buckets: u32) -> u32 {
    buckets + (buckets * SLOTS * NOTE).div_ceil(BUCKET) + 1
}

/// Buckets for so many bans: three places for two.
fn buckets(bans: usize) -> u32 {
    u32::try_from(bans.max(ROOM_MIN) * 3 / 2 / SLOTS as usize + 1).unwrap_or(u32::MAX)
}

/// Bans that a table takes before it is replaced: three of four places.
fn room(word: TableWord) -> u32 {
    word.buckets() * SLOTS / 4 * 3
}

/// Word and bit that announce a ban's prefix length.
fn length_bit(key: &BanKey) -> (usize, u32) {
    match (key.family, key.length) {
        (4, length) => (LENGTHS, length),
        (_, 128) => (LENGTHS + 1, 0),
        (_, length) => (LENGTHS + 1 + length as usize / 64, length % 64),
    }
}

/// The key of a network; host bits are cleared.
#[must_use]
pub fn key(address: IpAddr, length: u8) -> BanKey {
    let (address, family) = match address {
        IpAddr::V4(address) => (Address::from_v4(address.into()), 4),
        IpAddr::V6(address) => (Address::from_v6(address.into()), 6),
    };
    let network = address.masked(length.into());
    BanKey { hi: network.hi, lo: network.lo, length: length.into(), family }
}
