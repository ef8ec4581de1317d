//! "Did you mean": the nearest of the names that exist.

/// Nobody mistypes a longer word, and comparing one would take time.
const LONGEST: usize = 64;

/// The candidate nearest to `written`, if near enough to be a slip of the
/// fingers: a third of the letters may differ, and one always may.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let length = written.chars().count();
    // Every letter is a slip away from every other.
    if !(2..=LONGEST).contains(&length) {
        return None;
    }
    let most = (length / 3).max(1);
    let near = candidates.into_iter().filter(|name| name.len().abs_diff(written.len()) <= most);
    let distances = near.map(|name| (distance(written, name), name));
    let (distance, name) = distances.min_by_key(|&(distance, name)| (distance, name.len()))?;
    (distance <= most).then_some(name)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from
/// `a` to `b` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        assert_eq!(distance("sorce", "source"), 1);
        assert_eq!(distance("form", "from"), 1);
        assert_eq!(nearest("web-server", ["web-servers", "app-servers"]), Some("web-servers"));
        assert_eq!(nearest("ot", ["to", "from"]), Some("to"));
        assert_eq!(nearest("mail", ["web", "app"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
