//! The table in `docs/evidence/versions.md`.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Row;

const HEAD: &str = "Kubelet and kube-proxy of each version, built from their Go modules (1.20: Debian's source package), are given what kn-agent
writes, and documents made of the data in `agent/src/desired/versions/settings.tsv`. Counted is what came out as it should;
anything else fails the test. Fields and flags that the program does not know, a misspelt one of each among what kn-agent
writes, are the positive controls: the same search finds them.
";

pub(crate) fn text(rows: &[Row]) -> Result<String> {
    let title = "What kubelets and kube-proxies say of the versions' data";
    let mut text = format!("{}.\n\n{HEAD}\n", lab::provenance::head(title, "make test-versions")?);
    text.push_str(
        "| version | flags written, refused | of its file written, unknown | fields the data know, unknown to it | fields of other \
         versions, unknown to it | fields of another kind, refused | flags in `--help`, unknown to the data |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        writeln!(
            text,
            "| {} | {}, 0 | {} lines, 0 | {}, 0 | {}, {} | {}, {} | {}, 0 |",
            row.version,
            row.rendered_flags,
            row.rendered_lines,
            row.known,
            row.unknown,
            row.unknown,
            row.mistyped,
            row.mistyped,
            row.listed
        )?;
    }
    Ok(text)
}
