//! What was found, for a person.

use std::fmt::Write as _;

use anyhow::Result;

use crate::mutate::Class;
use crate::{labels, requests};

/// The record.
pub(crate) fn text(requests: &requests::Found, labels: &labels::Found) -> Result<String> {
    let title = "The approver and the label rule against Kubernetes' own code";
    let mut text = lab::provenance::head(title, "make differential")?;
    writeln!(text, ", Kubernetes v{}.\n", lab::csrcheck_version()?)?;
    write_requests(&mut text, requests)?;
    write_labels(&mut text, labels)?;
    Ok(text)
}

fn write_requests(text: &mut String, found: &requests::Found) -> Result<()> {
    let all = found.all;
    writeln!(text, "## Requests\n\n{REQUESTS}")?;
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| requests | {} |", all.made)?;
    writeln!(
        text,
        "| the approver approves | {} ({} %) |",
        all.approved,
        all.approved * 100 / all.made.max(1)
    )?;
    writeln!(
        text,
        "| approved, and refused or read differently by Kubernetes | **{}** |",
        found.exceptions.len()
    )?;
    writeln!(
        text,
        "| not approved, and read differently by Kubernetes | **{}** |",
        found.read_differently.len()
    )?;
    writeln!(text, "| Kubernetes would sign | {} |", all.accepted)?;
    writeln!(text, "| seconds | {:.0} |\n", found.took.as_secs_f64())?;
    writeln!(
        text,
        "Each rule of the approver taken away in turn, and how often that approved what it must not:\n"
    )?;
    writeln!(
        text,
        "| without the rule | Kubernetes refuses | its certificate says something else |\n|---|---|---|"
    )?;
    for (name, refused, differs) in &found.caught {
        writeln!(text, "| {name} | {refused} | {differs} |")?;
    }
    writeln!(
        text,
        "\nWhere the approver does not approve and Kubernetes would sign, by the approver's reason:\n"
    )?;
    writeln!(text, "| reason | requests |\n|---|---|")?;
    for (code, count) in &found.stricter {
        writeln!(text, "| `{code}` | {count} |")?;
    }
    writeln!(text, "\nWhat was changed (one thing or two in a request; each has harmless forms too):\n")?;
    writeln!(text, "| changed | requests | approved | Kubernetes would sign |\n|---|---|---|---|")?;
    let none = ("nothing", found.unchanged);
    let classes = Class::ALL.iter().filter_map(|class| Some((class.title(), *found.classes.get(class)?)));
    for (title, row) in std::iter::once(none).chain(classes) {
        writeln!(text, "| {title} | {} | {} | {} |", row.made, row.approved, row.accepted)?;
    }
    Ok(())
}

fn write_labels(text: &mut String, found: &labels::Found) -> Result<()> {
    writeln!(text, "\n## Labels\n\n{LABELS}")?;
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| labels | {} |", found.made)?;
    writeln!(text, "| judged differently | **{}** |", found.differences.len())?;
    writeln!(text, "| accepted | {} |", found.accepted)?;
    writeln!(text, "| accepted, of Kubernetes' namespaces | {} |", found.accepted_of_kubernetes)?;
    writeln!(text, "| refused for what they mean | {} |", found.refused_well_formed)?;
    writeln!(text, "| seconds | {:.0} |\n", found.took.as_secs_f64())?;
    writeln!(text, "| a rule by which | differs from the kubelet's |\n|---|---|")?;
    for (name, count) in &found.caught {
        writeln!(text, "| {name} | {count} |")?;
    }
    Ok(())
}

const REQUESTS: &str = "\
Each request is judged by the approver's own code and by Kubernetes': the API server's validation of a new
CertificateSigningRequest, the check of the signer it is addressed to, and the certificate that signer's authority writes.
Approved must mean: stored, signed, and a certificate with exactly the names that the approver read. A lifetime below
600 s is not among the requests: no API server stores one.
";

const LABELS: &str = "\
Each label is put into `node.labels` of a configuration, and given to the kubelet's check of `--node-labels`, which holds
`IsKubeletLabel`. There is no key on which the agent is stricter: `node-restriction.kubernetes.io`, for which it has a rule
and a hint of its own, the kubelet refuses too.
";
