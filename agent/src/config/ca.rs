//! CA certificates as they are configured.

use k8s_openapi::ByteString;
use serde_json::Value;
use x509_parser::pem::Pem;

use crate::names::Invalid;

/// PEM text out of `data`, which is PEM or base64 of it, with at least one certificate in it.
pub(super) fn pem_of(data: &str) -> Result<String, Invalid> {
    if data.contains("-----BEGIN") {
        check_pem(data)?;
        return Ok(data.to_owned());
    }
    let packed: String = data.split_whitespace().collect();
    // Kubernetes writes bytes as base64, so its type reads it.
    let bytes = serde_json::from_value::<ByteString>(Value::String(packed)).ok();
    let pem = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()).ok_or_else(no_certificate)?;
    check_pem(&pem)?;
    Ok(pem)
}

/// Checks that `pem` holds certificates and that each can be read.
pub(super) fn check_pem(pem: &str) -> Result<(), Invalid> {
    let mut count = 0;
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| Invalid("a PEM block is damaged".to_owned()))?;
        if block.label != "CERTIFICATE" {
            continue;
        }
        count += 1;
        block.parse_x509().map_err(|_| Invalid(format!("certificate {count} in the PEM text is damaged")))?;
    }
    if count == 0 { Err(no_certificate()) } else { Ok(()) }
}

fn no_certificate() -> Invalid {
    Invalid("no PEM certificate in it (`-----BEGIN CERTIFICATE-----`)".to_owned())
}
