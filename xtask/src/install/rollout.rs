//! Several hosts: one first, stop at the first failure.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::change::End;

/// Does `work` on all, `jobs` at once; results in order.
pub(super) fn together<T: Sync, R: Send>(
    all: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    until_failure(all, jobs, work, |_| true)
}

/// Does `work` on the first, then on the others, `jobs` at once. After a failure
/// none is begun; those under way go on. Results of those that were begun, in
/// order.
pub(super) fn one_first<T: Sync>(
    all: &[T],
    jobs: usize,
    work: impl Fn(&T) -> End + Sync,
) -> Vec<End> {
    let (canary, rest) = all.split_at(all.len().min(1));
    let mut ends = until_failure(canary, 1, &work, End::is_kept);
    if ends.iter().all(End::is_kept) {
        ends.extend(until_failure(rest, jobs, &work, End::is_kept));
    }
    ends
}

fn until_failure<T: Sync, R: Send>(
    all: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    succeeded: impl Fn(&R) -> bool + Sync,
) -> Vec<R> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, all.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::SeqCst) {
                    let place = next.fetch_add(1, Ordering::SeqCst);
                    let Some(one) = all.get(place) else { return };
                    let result = work(one);
                    if !succeeded(&result) {
                        failed.store(true, Ordering::SeqCst);
                    }
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(good: bool) -> End {
        if good { End::Kept(String::new()) } else { End::PutBack(String::new()) }
    }

    #[test]
    fn a_canary_that_fails_is_the_only_one() {
        assert_eq!(one_first(&[false, true, true], 3, |good| end(*good)), [end(false)]);
    }

    #[test]
    fn the_rollout_stops_at_the_first_failure() {
        let ends = one_first(&[true, true, false, true, true], 1, |good| end(*good));
        assert_eq!(ends, [end(true), end(true), end(false)]);
    }

    #[test]
    fn the_others_go_at_once_but_not_with_the_canary() {
        let running = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let ends = one_first(&[0, 1, 2, 3, 4], 4, |place| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(*place != 0 || now == 1, "the canary is not alone");
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(50));
            running.fetch_sub(1, Ordering::SeqCst);
            end(true)
        });
        assert_eq!(ends.len(), 5);
        assert!((2..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }

    #[test]
    fn no_host_is_no_work() {
        assert!(one_first(&[], 4, |good: &bool| end(*good)).is_empty());
        assert_eq!(together(&[3, 1, 2], 2, |n| n * 2), [6, 2, 4]);
    }
}
