//! Interface name globs: `*` for any run of characters, `?` for one.

/// Whether a name matches a glob.
#[must_use]
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n) = (0, 0);
    // Where to go back to: behind the last `*`, and what it has eaten up to.
    let mut star = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g + 1, n));
                g += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((behind, eaten)) => {
                    star = Some((behind, eaten + 1));
                    (g, n) = (behind, eaten + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (glob, name) in [("eth0", "eth0"), ("eth*", "eth0"), ("*", ""), ("e?h*1", "eth0.11")] {
            assert!(matches(glob, name), "{glob} should match {name}");
        }
        for (glob, name) in [("eth0", "eth01"), ("eth?", "eth"), ("e*1", "eth10"), ("", "x")] {
            assert!(!matches(glob, name), "{glob} should not match {name}");
        }
    }
}
