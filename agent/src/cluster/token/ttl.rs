//! How long a token lives.

use std::time::Duration;

use crate::names::Invalid;

/// The longest life a token may have.
const MAX_TTL: Duration = Duration::from_hours(7 * 24);

/// How long a token lives, as written by a person: `30m`, `1h`, `1h30m`, `2d`.
///
/// # Errors
/// Where it is no duration, or one that no token may have.
pub fn parse_ttl(text: &str) -> Result<Duration, Invalid> {
    let bad = |why: &str| Invalid(format!("`{text}` {why}; expected e.g. 30m, 1h or 24h, at most 7d"));
    let mut total: u64 = 0;
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit: u64 = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(bad("is no duration")),
        };
        let count: u64 = digits.parse().map_err(|_| bad("is no duration"))?;
        total = count
            .checked_mul(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| bad("is too long"))?;
        digits.clear();
    }
    if !digits.is_empty() {
        return Err(bad("has a number without a unit (s, m, h, d)"));
    }
    match Duration::from_secs(total) {
        Duration::ZERO => Err(bad("would make a token that has ended")),
        ttl if ttl > MAX_TTL => Err(bad("is too long for a token that lets machines in")),
        ttl => Ok(ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_takes_what_people_write_and_refuses_what_no_token_may_have() {
        for (text, seconds) in [("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("7d", 604_800), ("90s", 90)] {
            assert_eq!(parse_ttl(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "0h",
            "7d1s",
            "8d",
            "1",
            "h",
            "-1h",
            "1.5h",
            "1h30",
            "1w",
            "99999999999999999999h",
        ] {
            let error = parse_ttl(text).unwrap_err().to_string();
            assert!(error.contains("30m"), "{error}");
        }
    }
}
