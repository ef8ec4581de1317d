//! Bans, as user space writes them; see [`firewall_common::ban`] for who may do what.
//!
//! A table is a map of its own: buckets, which the datapath reads, then for each place
//! what it does not (since when and why), then how many bans there are. It is pinned,
//! because nobody but an administrator of the whole system may ask a map of maps for
//! what stands in it.

mod announced;
mod batch;
mod lock;
mod table;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use firewall_common::abi::ban::{Ban, BanKey, CAPACITY, FILTER_BYTES, TableWord, UNIT_SHIFT};
use firewall_common::abi::control::Control;
use firewall_common::ban;
use firewall_common::ban::write::Entry;
use firewall_common::packet::Address;
use firewall_policy::compile::parallel;

use self::announced::{Announced, announce, is_any};
use self::batch::{Batch, Others, WORTH_A_THREAD};
use self::lock::lock;
use self::table::{ROOM_MIN, TABLES, Table, buckets, entries, name, room, shape};
use super::maps::Maps;
use super::sys::{self, Mapping};
use crate::report::units;

/// Under which the table that was in force when the maps were opened is known to them:
/// where there are no pins, there is no other.
pub(super) const TABLE_NAME: &str = "BAN_TABLE";

/// Words of [`Control`].
const TABLE: usize = std::mem::offset_of!(Control, ban_table) / 8;
const SEED: usize = std::mem::offset_of!(Control, ban_seed) / 8;

/// What nobody is banned by.
const NONE: Ban = Ban { until_ns: 0, since_ns: 0, hits: 0, reason: [0; 40] };

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

/// A table that is to take another one's place.
struct Rebuilt {
    table: Table,
    /// What is to be announced of the networks that it was made for.
    announced: Announced,
    /// How many of those the other one did not hold.
    new: usize,
}

/// How a batch of bans came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Networks that were not banned.
    pub new: usize,
    /// Networks that were, whose end and reason are now others.
    pub renewed: usize,
    /// Networks that were, and are no more.
    pub lifted: usize,
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
        return fd.context(NOT_PINNED);
    }
    control.set_word(SEED, sys::random()?);
    let table = Table::create(TableWord::new(0, buckets(0)))?;
    table.publish(maps.fd("BANS")?, directory, &control)?;
    Ok(table.fd)
}

/// A map of two tables.
///
/// # Errors
/// The kernel's.
pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
    let like = sys::create_map("ban_table", &shape(entries(1)))?;
    sys::create_map_of_maps(name, like.as_fd(), 2)
}

const NOT_PINNED: &str = "the table of bans is not pinned";

/// The table in force; `None` if it is not pinned. Who holds no lock may find another one under
/// its name: then the word is another, too.
fn in_force(control: &Mapping, directory: &Path) -> Result<Option<Table>> {
    loop {
        let word = TableWord(control.word(TABLE));
        let fd = sys::open(&directory.join(name(word)))?;
        if TableWord(control.word(TABLE)) == word {
            return fd.map(|fd| Table::map(fd, word)).transpose();
        }
    }
}

fn control(maps: &Maps) -> Result<Mapping> {
    let fd = maps.fd("CONTROL")?;
    Mapping::at_best(fd, size_of::<Control>()).context("could not map the control word")
}

impl Bans {
    /// Opens the table of `maps`, with the pins of its directory.
    ///
    /// # Errors
    /// If the maps may not be read.
    pub fn open(maps: &Maps) -> Result<Self> {
        let directory = maps.directory().to_path_buf();
        let control = control(maps)?;
        let fd = maps.fd("BAN_FILTER")?;
        let filter =
            Mapping::at_best(fd, FILTER_BYTES).context("could not map the filter of bans")?;
        let table = if let Some(table) = in_force(&control, &directory)? {
            table
        } else {
            let fd = maps.fd(TABLE_NAME).context(NOT_PINNED)?;
            Table::map(sys::duplicate(&fd)?, TableWord(control.word(TABLE)))?
        };
        Ok(Self { maps: sys::duplicate(&maps.fd("BANS")?)?, control, filter, directory, table })
    }

    /// Adds or renews a ban.
    ///
    /// # Errors
    /// If the table is full: nothing in force is given up for a new ban.
    pub fn insert(&mut self, key: BanKey, ban: Ban) -> Result<()> {
        let _lock = self.write()?;
        // First: a ban that is not announced is met by no packet, whoever is killed here.
        announce(self.seed(), &key, &self.filter, &self.control);
        let word = self.table.word;
        let is_full =
            self.table.count() >= room(word) && self.table.writer(self.seed()).find(&key).is_none();
        if is_full || !self.table.insert(&key, &ban, self.seed()) {
            // Where there is no room for this one there will soon be none for others,
            // which do not come in order.
            let least = if is_full { 0 } else { word.buckets() + word.buckets() / 4 };
            let larger = self.rebuilt(&[key], &ban, least, Others::Stay)?;
            self.replace(larger.table)?;
        }
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
        let Rebuilt { table, announced, new } = self.rebuilt(keys, ban, 0, Others::Stay)?;
        announced.publish(&self.filter, &self.control);
        self.replace(table)?;
        Ok(Added { new, renewed: keys.len() - new, lifted: 0 })
    }

    /// Bans all of these networks as [`insert_all`](Self::insert_all) does, and lifts every other
    /// ban, in one switch. A network that was banned before keeps its hits.
    ///
    /// # Errors
    /// If there is no room for all.
    pub fn replace_all(&mut self, keys: &[BanKey], ban: &Ban) -> Result<Added> {
        let _lock = self.write()?;
        let Rebuilt { table, announced, new } = self.rebuilt(keys, ban, 0, Others::Lifted)?;
        let (held, _) = self.count(ban.since_ns, ban.since_ns)?;
        let kept = table.count() as usize - new;
        announced.publish(&self.filter, &self.control);
        self.replace(table)?;
        announced.publish_only(&self.filter, &self.control);
        Ok(Added { new, renewed: keys.len() - new, lifted: usize::try_from(held)? - kept })
    }

    /// What [`insert_all`](Self::insert_all) would say, or [`replace_all`](Self::replace_all).
    ///
    /// # Errors
    /// If there is no room for all.
    pub fn would_add(&mut self, keys: &[BanKey], ban: &Ban, is_all: bool) -> Result<Added> {
        self.refresh()?;
        let others = if is_all { Others::Lifted } else { Others::Stay };
        let batch = Batch::new(keys, ban, self.seed(), others);
        self.has_room(keys.len(), &batch)?;
        let new = batch.new_in(&self.table);
        let kept = batch.different() - new;
        let lifted = if is_all { batch.held_by(&self.table) - kept } else { 0 };
        Ok(Added { new, renewed: keys.len() - new, lifted })
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
        self.table.set_count(self.table.count().saturating_sub(1));
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
        let bytes = (self.table.mapping.length() + FILTER_BYTES) as u64;
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
        if !is_any(&self.control) {
            return Ok(0);
        }
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
        let (seed, mut announced) = (self.seed(), Announced::nothing());
        for key in &left {
            announced.add(seed, ban::hash(seed, key), key);
        }
        announced.publish_only(&self.filter, &self.control);
        // After a wave of bans their memory is given back.
        if left.len().max(ROOM_MIN) * 8 < room(self.table.word) as usize {
            let smaller = self.rebuilt(&[], &NONE, 0, Others::Stay)?;
            self.replace(smaller.table)?;
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
        if TableWord(self.control.word(TABLE)) != self.table.word {
            self.table = in_force(&self.control, &self.directory)?.context(NOT_PINNED)?;
        }
        Ok(())
    }

    /// Another table with the bans of this one that have not ended, if they are to stay, these
    /// networks, and room for more, of so many buckets at least.
    fn rebuilt(&self, keys: &[BanKey], ban: &Ban, least: u32, others: Others) -> Result<Rebuilt> {
        self.forget_other()?;
        let count = if others == Others::Stay { self.table.count() as usize } else { 0 };
        // Room for as many again, unless they come all at once.
        let wanted = (count + keys.len()).max(2 * count).min(CAPACITY as usize);
        let mut size = buckets(wanted).max(least);
        let prepare = || {
            let batch = Batch::new(keys, ban, self.seed(), others);
            let announced = batch.announced();
            (batch, announced)
        };
        let create = |size| Table::create(self.table.word.next(size));
        let ((batch, announced), mut table) = if keys.len() < WORTH_A_THREAD {
            let prepared = prepare();
            // Nobody makes a table for the one ban that does not fit.
            self.has_room(keys.len(), &prepared.0)?;
            (prepared, create(size)?)
        } else {
            // The kernel takes as long to make a large one as it takes to sort.
            let (prepared, table) = parallel::both(true, prepare, || create(size));
            (prepared, table?)
        };
        let new = loop {
            if let Some(new) = batch.fill(&table, &self.table) {
                break new;
            }
            self.has_room(keys.len(), &batch)?;
            size += size / 4;
            table = create(size)?;
        };
        if table.count() > CAPACITY {
            self.has_room(keys.len(), &batch)?;
        }
        Ok(Rebuilt { table, announced, new })
    }

    /// Refuses a batch of so many networks, some of them perhaps known, if there would be
    /// too many. Bans that have ended leave room.
    fn has_room(&self, networks: usize, batch: &Batch) -> Result<()> {
        let capacity = CAPACITY as usize;
        if batch.others == Others::Lifted {
            let different = if networks > capacity { batch.different() } else { networks };
            if different > capacity {
                let [capacity, different] = [capacity, different].map(|n| units::count(n as u64));
                bail!("the table of bans holds {capacity}: {different} do not fit");
            }
            return Ok(());
        }
        if self.table.count() as usize + networks <= capacity {
            return Ok(());
        }
        let (held, new) = (batch.held_by(&self.table), batch.new_in(&self.table));
        if held + new > capacity {
            let [capacity, held, new] = [capacity, held, new].map(|part| units::count(part as u64));
            bail!("the table of bans holds {capacity}: {held} are there, {new} more do not fit");
        }
        Ok(())
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
}

/// The key of a network; host bits are cleared.
#[must_use]
pub fn key(address: IpAddr, length: u8) -> BanKey {
    let (address, family) = Address::of(address);
    let network = address.masked(length.into());
    BanKey { hi: network.hi, lo: network.lo, length: length.into(), family: family as u32 }
}
