//! Jitter, so that simultaneous tasks spread out.

use aws_lc_rs::rand;

/// A factor between `1 - most` and 1.
pub(crate) fn jitter(most: f64) -> f64 {
    let mut chance = [0];
    // Without randomness there is no jitter.
    let _ = rand::fill(&mut chance);
    1.0 - most * f64::from(chance[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_vary_within_their_bounds() {
        let factors: Vec<_> = (0..200).map(|_| jitter(0.25)).collect();
        assert!(factors.iter().all(|factor| (0.75..=1.0).contains(factor)), "{factors:?}");
        assert!(factors.iter().any(|factor| *factor != factors[0]));
    }
}
