//! Durations as people write them.

use std::time::Duration;

use jiff::SignedDuration;

use crate::names::Invalid;

/// `90s`, `10m`, `1h 30m`; a number alone is seconds.
pub(super) fn parse(text: &str) -> Result<Duration, Invalid> {
    let bad =
        || Invalid(format!("`{text}` is no duration; expected e.g. 90s, 10m or 1h, or a number of seconds"));
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let duration: SignedDuration = text.parse().map_err(|_| bad())?;
    duration.try_into().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("1h", 3600),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("120", 120),
            ("0", 0),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for text in ["", "soon", "10 m 5", "-5", "-5s", "10x", "1d", "1e3", "5m ago", "99999999999999999999"]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no duration")) && error.contains("10m"),
                "{error}"
            );
        }
    }
}
