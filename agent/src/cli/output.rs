//! How answers are printed: for a person, or as a document for a program.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::Error;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For a person
    Text,
    /// For a program
    Json,
    /// For a program or a person
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
) -> Result<(), Error> {
    let written = match output {
        Output::Text => text(document),
        Output::Json => json(document)?,
        Output::Yaml => yaml(document)?,
    };
    out.write_all(written.as_bytes())?;
    out.flush()?;
    Ok(())
}

pub(super) fn json(document: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text + "\n").map_err(|error| Error::new(1, format!("cannot write JSON: {error}")))
}

pub(super) fn yaml(document: &impl Serialize) -> Result<String, Error> {
    serde_saphyr::to_string(document).map_err(|error| Error::new(1, format!("cannot write YAML: {error}")))
}
