//! What names are taken, and what is refused with which word.

use super::*;

#[test]
fn node_name_accepts_dns_names_and_addresses() {
    for good in ["worker-1", "192.168.1.42", "a.b-c.d", "0"] {
        assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
    }
    for bad in ["", "Worker", "a_b", "-a", "a-", "a..b", &"a".repeat(254)] {
        bad.parse::<NodeName>().unwrap_err();
    }
}

#[test]
fn token_takes_both_forms_and_its_error_hides_what_it_read() {
    "abcdef.0123456789abcdef".parse::<Token>().unwrap();
    "d18f94b5fa585c7123f56803d925d2e7".parse::<Token>().unwrap();
    let wrong = "abcdef.0123456789abcdeX";
    let error = wrong.parse::<Token>().unwrap_err().to_string();
    assert!(error.contains("malformed token") && !error.contains("0123456789"));
}

#[test]
fn a_token_in_the_place_of_a_node_name_is_not_repeated() {
    let error = "ABCDEF.0123456789CANARY".parse::<NodeName>().unwrap_err().to_string();
    assert!(error.contains("upper-case") && !error.to_lowercase().contains("canary"), "{error}");
    assert!("Worker".parse::<NodeName>().unwrap_err().to_string().contains("write `worker`"));
}

#[test]
fn pins_are_sha256_of_any_case_and_tell_what_is_wrong() {
    let hex = "7C2E69131A36AE2A042A339B33381C6D0D43887E2DE83720EFF5359E26AEC866";
    let pin: CaPin = format!("SHA256:{hex}").parse().unwrap();
    assert_eq!(pin, CaPin::of_hash(&hex.to_lowercase()));
    assert_eq!(pin.to_string(), format!("sha256:{}", hex.to_lowercase()));
    for (bad, why) in [
        (hex.to_owned(), "the `sha256:` is missing"),
        (format!("sha1:{hex}"), "only sha256 is known"),
        ("sha256:7c2e".to_owned(), "it has 4 digits"),
        (format!("sha256:{}zz", &hex[2..]), "other characters"),
    ] {
        let error = bad.parse::<CaPin>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn cidr_overlap_is_symmetric_and_right() {
    let cidr = |s: &str| s.parse::<Cidr>().unwrap();
    assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.96.0.0/16")));
    assert!(cidr("10.96.0.0/16").overlaps(&cidr("10.0.0.0/8")));
    assert!(!cidr("10.244.0.0/16").overlaps(&cidr("10.96.0.0/16")));
    assert!(!cidr("10.244.0.0/16").overlaps(&cidr("fd00::/8")));
    assert!("10.244.0.1/16".parse::<Cidr>().is_err());
}

#[test]
fn server_url_is_https_without_a_path() {
    let url: ApiServerUrl = "https://10.0.0.10:6443".parse().unwrap();
    assert_eq!((url.host(), url.port()), ("10.0.0.10", 6443));
    assert_eq!("https://[fd00::1]:6443/".parse::<ApiServerUrl>().unwrap().host(), "fd00::1");
    for bad in ["http://a:1", "10.0.0.10:6443", "https://a/b", "https://u:p@a", ""] {
        bad.parse::<ApiServerUrl>().unwrap_err();
    }
}
