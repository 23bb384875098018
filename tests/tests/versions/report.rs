//! The table in `docs/evidence/versions.md`.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use crate::Row;

const HEAD: &str = "Kubelet and kube-proxy of each version, built from their Go modules (1.20: Debian's source package), are given what kn-agent
writes, and documents made of the data in `agent/src/desired/versions/settings.tsv`. Counted is what came out as it should;
anything else fails the test. Fields and flags that the program does not know, a misspelt one of each among what kn-agent
writes, are the positive controls: the same search finds them.
";

pub(crate) fn text(rows: &[Row]) -> Result<String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output()?;
        anyhow::Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let mut text = format!(
        "# What kubelets and kube-proxies say of the versions' data, last run\n\n`make test-matrix`, {}, commit {}.\n\n{HEAD}\n",
        run("date", &["+%Y-%m-%d"])?,
        run("git", &["rev-parse", "--short=10", "HEAD"])?,
    );
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
