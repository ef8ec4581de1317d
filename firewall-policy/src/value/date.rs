//! Days of the calendar.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Fault, is_digits};
use crate::codes::Code;

/// A day, as days since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date(i64);

impl Date {
    /// The day in UTC; before 1970 counts as 1970-01-01.
    pub(crate) fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX))
    }

    /// Days from `self` to `other`; negative if that is earlier.
    pub(crate) fn days_until(self, other: Self) -> i64 {
        other.0 - self.0
    }

    /// Proleptic Gregorian calendar, years counted from March so that the leap
    /// day comes last (Fliegel and van Flandern 1968).
    fn from_civil(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let month = (month + 9) % 12;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }

    fn civil(self) -> (i64, i64, i64) {
        let days = self.0 + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (era * 400 + year_of_era + i64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// `2026-12-31`.
pub(crate) fn parse(text: &str) -> Result<Date, Fault> {
    let fault = |label: &str| {
        Fault::new(Code::Date, text, format!("`{text}` is not a date"))
            .label(label)
            .help("a date is written 2026-12-31")
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return Err(fault("year-month-day is wanted")) };
    let is_written_so = (year.len(), month.len(), day.len()) == (4, 2, 2)
        && [year, month, day].into_iter().all(is_digits);
    if !is_written_so {
        return Err(fault("year-month-day is wanted, with four, two and two digits"));
    }
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    let wanted = (number(year), number(month), number(day));
    let date = Date::from_civil(wanted.0, wanted.1, wanted.2);
    // A day that does not exist comes back as another one.
    if !(1..=12).contains(&wanted.1) || date.civil() != wanted {
        return Err(fault("there is no such day"));
    }
    Ok(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(parse("1970-01-01").unwrap(), Date(0));
        assert_eq!(parse("2000-02-29").unwrap(), Date(11_016));
        assert_eq!(parse("2026-11-20").unwrap(), Date(20_777));
        let noon = UNIX_EPOCH + Duration::from_hours(20_777 * 24 + 12);
        assert_eq!(Date::of(noon).to_string(), "2026-11-20");
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in (Date::from_civil(1900, 1, 1).0)..(Date::from_civil(2300, 1, 1).0) {
            let (y, m, d) = Date(day).civil();
            assert_eq!(Date::from_civil(y, m, d), Date(day));
            assert_eq!(parse(&Date(day).to_string()).unwrap(), Date(day));
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["2026-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "26-01-01", "tomorrow"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
