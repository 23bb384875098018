//! Series of measurements.

/// Measurements of one thing, in the order they were made.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Every value.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle value; not a number where there is none.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value that `share` of the values do not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = u32::try_from(sorted.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return f64::NAN;
        }
        let place = share * f64::from(count - 1);
        let (low, high) = (index(place.floor()), index(place.ceil()));
        sorted[low] + (sorted[high] - sorted[low]) * place.fract()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list of some dozens"
)]
fn index(place: f64) -> usize {
    place as usize
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn quantiles_lie_between_the_values() {
        let series = Series(vec![4.0, 1.0, 3.0, 2.0]);
        assert!((series.median() - 2.5).abs() < 1e-9);
        assert!((series.quantile(0.0) - 1.0).abs() < 1e-9 && (series.quantile(1.0) - 4.0).abs() < 1e-9);
        assert!(Series::default().median().is_nan());
    }
}
