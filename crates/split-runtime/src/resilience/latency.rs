/// Latencies of the last answers, for the point after which a request counts as slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct LatencyWindow {
    latest_us: Vec<u64>,
    next: usize,
}

const WINDOW: usize = 100;
/// With fewer answers nothing can be said about the slowest twentieth.
const LEAST: usize = 20;

impl LatencyWindow {
    pub(crate) fn add(&mut self, us: u64) {
        if self.latest_us.len() < WINDOW {
            self.latest_us.push(us);
            return;
        }
        self.latest_us[self.next] = us;
        self.next = (self.next + 1) % WINDOW;
    }

    pub(crate) fn p95_us(&self) -> Option<u64> {
        if self.latest_us.len() < LEAST {
            return None;
        }
        let mut sorted = self.latest_us.clone();
        sorted.sort_unstable();
        Some(sorted[sorted.len() * 95 / 100])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_latencies_are_forgotten() {
        let mut window = LatencyWindow::default();
        assert_eq!(window.p95_us(), None);
        (0..100).for_each(|_| window.add(9_000));
        assert_eq!(window.p95_us(), Some(9_000));
        (0..100).for_each(|us| window.add(us));
        assert_eq!(window.p95_us(), Some(95));
    }
}
