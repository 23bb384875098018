//! A token's 22 characters.
//!
//! Each is one of 36, as likely as any other: 22 × log₂ 36 ≈ 113 bits. The id, 6 of them, is no secret; the other 16 are
//! ≈ 82 bits, which no one guesses against an API server within the hour that a token lives.

use aws_lc_rs::rand;

use super::TokenError;
use crate::names::{Invalid, Token};

/// Draws a new token: 22 of 36 characters, each as likely as any other.
///
/// # Errors
/// Where the system gives no random numbers.
pub fn draw() -> Result<Token, TokenError> {
    let mut text = String::with_capacity(23);
    while text.len() < 23 {
        let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
        rand::fill(bytes.as_mut()).map_err(|_| TokenError::NoRandomness)?;
        for &byte in bytes.iter() {
            if text.len() == 6 {
                text.push('.');
            }
            if let Some(character) = character(byte).filter(|_| text.len() < 23) {
                text.push(character);
            }
        }
    }
    let token = text.parse().map_err(|invalid: Invalid| TokenError::Unspeakable(invalid.to_string()));
    zeroize::Zeroize::zeroize(&mut text);
    token
}

/// The character for a random byte. 252 is 7 × 36: larger bytes would favour the first four characters.
fn character(byte: u8) -> Option<char> {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (byte < 252).then(|| char::from(ALPHABET[usize::from(byte % 36)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form_and_use_the_whole_alphabet_evenly() {
        let mut counts = std::collections::BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            let token = draw().unwrap();
            let (id, key) = token.expose().split_once('.').unwrap();
            assert_eq!((id.len(), key.len()), (6, 16));
            assert!(seen.insert(token.expose().to_owned()));
            for character in id.chars().chain(key.chars()) {
                *counts.entry(character).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(counts.len(), 36);
        let expected = 5_000.0 * 22.0 / 36.0;
        let chi2: f64 = counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // 35 degrees of freedom: more than 90 in one of 10⁶ runs.
        assert!(chi2 < 90.0, "{chi2}");
        assert!((252..=255).all(|byte| character(byte).is_none()));
    }
}
