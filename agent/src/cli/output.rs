//! How answers are printed: for a person, or as a document for a program.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For a person
    Text,
    /// A document, for a program
    Json,
    /// The same document as YAML
    Yaml,
}

#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Output::Text)]
    pub(super) output: Output,
}

/// Prints `document`, for a person through `text`.
pub(super) fn print<D: Serialize>(
    output: Output,
    document: &D,
    text: impl FnOnce(&D) -> String,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let written = match output {
        Output::Text => text(document),
        Output::Json => json(document)?,
        Output::Yaml => yaml(document)?,
    };
    out.write_all(written.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Rows as lines with aligned columns, the head among them.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn json(document: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(document).context("cannot write JSON")? + "\n")
}

pub(super) fn yaml(document: &impl Serialize) -> anyhow::Result<String> {
    serde_saphyr::to_string(document).context("cannot write YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_has_three_forms() {
        let document = serde_json::json!({"schema": "x/v1", "reason": null, "steps": [{"what": "a: b\nc"}]});
        let printed = |output| {
            let mut out = Vec::new();
            print(output, &document, |_| "text\n".to_owned(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(Output::Text), "text\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed(Output::Json)).unwrap(), document);
        let yaml = printed(Output::Yaml);
        assert!(yaml.contains("schema: x/v1\n"), "{yaml}");
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), document);
    }
}
