//! Kubernetes' own code, in a program that answers a line with a line.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What was read in a request or a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    pub(crate) common_names: Option<Vec<String>>,
    pub(crate) organizations: Option<Vec<String>>,
    pub(crate) other_subject: usize,
    pub(crate) dns: Option<Vec<String>>,
    pub(crate) addresses: Option<Vec<ByteString>>,
    pub(crate) other_names: usize,
}

/// What Kubernetes says about a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Told {
    /// Why the API server does not store it; empty where it does.
    pub(crate) create: String,
    /// Why the signer does not sign it; empty where it does.
    pub(crate) signer: String,
    /// What is in it, where it could be read.
    pub(crate) request: Option<Asked>,
    /// What is in the certificate, where one was made.
    pub(crate) certificate: Option<Asked>,
    /// Whether the certificate is an authority's.
    #[serde(rename = "isCA")]
    pub(crate) is_ca: bool,
}

impl Told {
    /// Why there is no certificate.
    pub(crate) fn refusal(&self) -> Option<&str> {
        [&self.create, &self.signer].into_iter().find(|text| !text.is_empty()).map(String::as_str)
    }
}

/// What the kubelet says about a label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelTold {
    /// Why it does not take it as `--node-labels`; empty where it does.
    pub(crate) refusal: String,
    /// What `IsKubeletLabel` says.
    pub(crate) is_kubelet: bool,
}

/// The answers, in the order of the questions.
#[derive(Debug)]
pub(crate) struct Answers(BufReader<ChildStdout>);

impl Answers {
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        ensure!(!line.is_empty(), "csrcheck ended early; its reason is above");
        serde_json::from_str(&line).with_context(|| format!("csrcheck answered {line}"))
    }
}

/// Starts it. It ends when its input does.
pub(crate) fn start(mode: &str) -> Result<(ChildStdin, Answers)> {
    let mut command = Command::new(lab::csrcheck()?);
    command.arg(mode).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start csrcheck")?;
    let input = child.stdin.take().context("csrcheck has no input")?;
    let output = child.stdout.take().context("csrcheck has no output")?;
    Ok((input, Answers(BufReader::new(output))))
}

/// Asks one question.
pub(crate) fn ask(input: &mut impl Write, question: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    input.write_all(&line).context("csrcheck does not listen")
}
