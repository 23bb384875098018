//! The evidence: every figure of a run, and a picture of the latencies beside it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{LATENCY_LIMIT, RATIO_LIMIT, Results, load::RATE};
use crate::{bench::Series, provenance};

/// Writes it, and the picture with the same name and the ending `svg`.
pub(super) fn write(results: &[Results], path: &Path) -> Result<()> {
    let picture = path.with_extension("svg");
    let name = picture.file_name().unwrap_or_default().to_string_lossy();
    let mut text = provenance::head("The approver's speed", "make approver-bench")?;
    let _ = write!(
        text,
        ", 2 processors, which API server, etcd,\n\
         controller-manager, approver and the sender of requests share. What is measured, and how, is in\n\
         `tests/src/approver_bench/mod.rs`.\n\n![latencies]({name})\n",
    );
    for result in results {
        text.push_str(&section(result));
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    fs::write(&picture, svg(results)).with_context(|| format!("cannot write `{}`", picture.display()))
}

fn section(result: &Results) -> String {
    let Results { version, burst, burst_sent, burst_approved, .. } = result;
    let mut text = format!("\n## {version}\n\n");
    let _ = writeln!(
        text,
        "**99 % of {} requests at {RATE} a second approved within {:.0} ms** (at most {LATENCY_LIMIT}); \
         **{:.2} of the bare loop's rate** (at least {RATIO_LIMIT}).\n",
        result.steady.values().len(),
        result.steady.quantile(0.99),
        result.ratio()
    );
    text.push_str("| | median | 90 % | 99 % | most |\n|---|---|---|---|---|\n");
    quantiles(&mut text, "sent until approved, ms", &result.steady);
    quantiles(&mut text, "seen by a watch until approved, ms", &result.seen);
    let _ = writeln!(
        text,
        "\n{burst} at once: all sent after {burst_sent:.2} s, all approved {:.2} s after that.\n",
        burst_approved - burst_sent
    );
    let _ = write!(text, "{burst} that wait:\n\n| | median | every value, in order |\n|---|---|---|\n");
    all(&mut text, "approver, a second", &result.approver_rate, 0);
    all(&mut text, "bare loop, a second", &result.bare_rate, 0);
    all(&mut text, "from the approver's start until all are approved, s", &result.restart, 2);
    text
}

fn quantiles(text: &mut String, what: &str, series: &Series) {
    let at = [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.0}", series.quantile(share)));
    let _ = writeln!(text, "| {what} | {} |", at.join(" | "));
}

fn all(text: &mut String, what: &str, series: &Series, digits: usize) {
    let values: Vec<_> = series.values().iter().map(|value| format!("{value:.digits$}")).collect();
    let _ = writeln!(text, "| {what} | {:.digits$} | {} |", series.median(), values.join(" "));
}

/// For each version the share of requests that were approved within a time.
fn svg(results: &[Results]) -> String {
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 240.0;
    const LEFT: f64 = 50.0;
    const TOP: f64 = 20.0;
    const COLOURS: [&str; 2] = ["#1f77b4", "#ff7f0e"];
    let most = results.iter().map(|r| r.steady.quantile(1.0)).fold(LATENCY_LIMIT, f64::max) * 1.05;
    let (x, y) = (|ms: f64| LEFT + ms / most * WIDTH, |share: f64| TOP + (1.0 - share) * HEIGHT);
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 670 310\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"670\" height=\"310\" fill=\"white\"/>\n",
    );
    for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"5\" y=\"{:.1}\">{:.0} %</text>",
            LEFT + WIDTH,
            y(share) + if share > 0.99 { -2.0 } else { 4.0 },
            share * 100.0,
            y = y(share),
        );
    }
    let limit = x(LATENCY_LIMIT);
    let _ = writeln!(
        text,
        "<path d=\"M{limit:.1} {TOP}V{:.1}\" stroke=\"#c00\" stroke-dasharray=\"4\"/>\
         <text x=\"{:.1}\" y=\"285\" text-anchor=\"middle\">{LATENCY_LIMIT:.0} ms</text>",
        TOP + HEIGHT,
        limit
    );
    for (result, colour) in results.iter().zip(COLOURS) {
        let points: Vec<String> = (0..=200_u32)
            .map(|step| f64::from(step) / 200.0)
            .map(|share| format!("{:.1},{:.1}", x(result.steady.quantile(share)), y(share)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
    }
    for (number, (result, colour)) in results.iter().zip(COLOURS).enumerate() {
        let left = LEFT + 200.0 * f64::from(u32::try_from(number).unwrap_or_default());
        let _ = writeln!(text, "<text x=\"{left}\" y=\"303\" fill=\"{colour}\">{}</text>", result.version);
    }
    text.push_str("<text x=\"380\" y=\"303\">share of requests approved, by milliseconds</text>\n</svg>\n");
    text
}
