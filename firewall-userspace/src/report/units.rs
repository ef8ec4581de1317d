//! Numbers for people: always with their unit, and `–` where nothing was
//! measured, which is not the same as `0`.

use std::time::Duration;

/// What stands for a number that was not measured.
pub const NOT_MEASURED: &str = "–";

/// A whole number with a comma every three digits: `18,204`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A whole number in little space: `1,204`, `2.41 M`.
#[must_use]
pub fn short_count(number: u64) -> String {
    if number < 1_000_000 { count(number) } else { scaled(as_f64(number), 3) }
}

/// A rate without its unit: `20.1`, `3,982.0`, `41.1 k`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second < 9_999.95 {
        let tenths = rounded(per_second * 10.0);
        format!("{}.{}", count(tenths / 10), tenths % 10)
    } else {
        scaled(per_second, 3)
    }
}

/// A rate that may not have been measured.
#[must_use]
pub fn maybe_rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| NOT_MEASURED.to_owned(), rate)
}

/// Packets per second: `41.2 kpps`, `812 pps`.
#[must_use]
pub fn packets_per_second(rate: f64) -> String {
    if rate < 999.5 { format!("{} pps", rounded(rate)) } else { format!("{}pps", scaled(rate, 3)) }
}

/// Bytes per second: `1.20 MB/s`, `812 B/s`.
#[must_use]
pub fn bytes_per_second(rate: f64) -> String {
    if rate < 999.5 { format!("{} B/s", rounded(rate)) } else { format!("{}B/s", scaled(rate, 3)) }
}

/// A size in memory: `6.4 MiB`.
#[must_use]
pub fn memory(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = as_f64(bytes) / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A size on the wire: `12.4 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    if bytes < 1000 { format!("{bytes} B") } else { format!("{}B", scaled(as_f64(bytes), 3)) }
}

/// A length of time by its largest unit: `45 s`, `4 min`, `2 h`, `3 d`.
#[must_use]
pub fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A short length of time: `0.8 ms`, `1.2 s`.
#[must_use]
pub fn elapsed(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A part of a whole: `7 %`; never `0 %` of something, nor `100 %` of less than
/// everything.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return NOT_MEASURED.to_owned();
    }
    if part == 0 {
        return "0 %".to_owned();
    }
    let share = as_f64(part) * 100.0 / as_f64(whole);
    match rounded(share) {
        0 => "< 1 %".to_owned(),
        100 if part < whole => "> 99 %".to_owned(),
        whole => format!("{whole} %"),
    }
}

/// A change against a base: `+3 %`, `-40 %`.
#[must_use]
pub fn change(now: Option<f64>, base: Option<f64>) -> String {
    match (now, base) {
        (Some(now), Some(base)) if base > 0.0 => format!("{:+.0} %", (now / base - 1.0) * 100.0),
        _ => NOT_MEASURED.to_owned(),
    }
}

/// One item or several: `1 rule`, `3 rules`.
#[must_use]
pub fn plural(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {one}s", count(number as u64)) }
}

/// A number to three digits with the letter for its thousands, and a space where
/// a unit may follow: `41.2 k`.
fn scaled(number: f64, digits: usize) -> String {
    const LETTERS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut value = number;
    let mut letter = 0;
    while value >= 999.5 && letter + 1 < LETTERS.len() {
        value /= 1_000.0;
        letter += 1;
    }
    let before = if value < 9.995 {
        1
    } else if value < 99.95 {
        2
    } else {
        3
    };
    let after = digits.saturating_sub(before);
    format!("{value:.after$} {}", LETTERS[letter])
}

/// The nearest whole number, 0 for what is below it or not a number.
#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is wanted")]
#[expect(clippy::cast_sign_loss, reason = "saturates at zero")]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// As a float; counters above 2^53 lose their last digits, which nobody is shown.
#[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
#[must_use]
pub fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_204), "1,204");
        assert_eq!(count(262_144), "262,144");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(short_count(1_204), "1,204");
        assert_eq!(short_count(2_414_000), "2.41 M");
    }

    #[test]
    fn rates_keep_a_digit_and_scale() {
        assert_eq!(rate(0.0), "0.0");
        assert_eq!(rate(20.14), "20.1");
        assert_eq!(rate(3_982.0), "3,982.0");
        assert_eq!(rate(9_999.94), "9,999.9");
        assert_eq!(rate(41_149.0), "41.1 k");
        assert_eq!(packets_per_second(41_200.0), "41.2 kpps");
        assert_eq!(packets_per_second(999.9), "1.00 kpps");
        assert_eq!(packets_per_second(812.4), "812 pps");
        assert_eq!(bytes_per_second(1_204_000.0), "1.20 MB/s");
    }

    #[test]
    fn zero_and_not_measured_differ() {
        assert_eq!(maybe_rate(Some(0.0)), "0.0");
        assert_eq!(maybe_rate(None), "–");
        assert_eq!(percent(0, 10), "0 %");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(change(Some(1.0), None), "–");
    }

    #[test]
    fn parts_are_never_rounded_to_nothing_or_all() {
        assert_eq!(percent(18_204, 262_144), "7 %");
        assert_eq!(percent(1, 262_144), "< 1 %");
        assert_eq!(percent(262_143, 262_144), "> 99 %");
        assert_eq!(percent(5, 5), "100 %");
    }

    #[test]
    fn times_and_sizes_name_their_unit() {
        assert_eq!(age(Duration::from_secs(59)), "59 s");
        assert_eq!(age(Duration::from_secs(60 * 60 * 24 * 3 + 5)), "3 d");
        assert_eq!(elapsed(Duration::from_micros(812)), "812 µs");
        assert_eq!(elapsed(Duration::from_micros(20_412)), "20.4 ms");
        assert_eq!(memory(6_710_886), "6.4 MiB");
        assert_eq!(memory(1_048_575), "1.0 MiB");
        assert_eq!(size(12_400_000), "12.4 MB");
        assert_eq!(change(Some(103.0), Some(100.0)), "+3 %");
        assert_eq!(plural(1, "rule"), "1 rule");
        assert_eq!(plural(2, "rule"), "2 rules");
    }
}
