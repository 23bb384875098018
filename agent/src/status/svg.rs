//! The timeline as a picture: a bar a step, coloured by phase, on one axis of time.

use std::fmt::Write;

use super::Done;
use super::timeline::Timeline;
use crate::plan::Phase;

/// Left edge of the axis; labels stand before it.
const LEFT: f64 = 448.0;
/// Length of the axis.
const AXIS: f64 = 560.0;
/// Room for durations behind the last bar.
const RIGHT: f64 = 90.0;
/// First row's upper edge; title and ticks stand above.
const TOP: f64 = 78.0;
/// From row to row.
const ROW: f64 = 24.0;
/// Height of a bar.
const BAR: f64 = 14.0;
/// Longest label, in characters: more would run into the axis.
const LABEL: usize = 42;

/// Far enough apart to tell neighbours from one another on white. A phase has the same one in every picture.
const COLOURS: [&str; 16] = [
    "#64748b", "#0e7490", "#7c3aed", "#ca8a04", "#0ea5e9", "#2563eb", "#ea580c", "#db2777", "#059669",
    "#92400e", "#dc2626", "#65a30d", "#16a34a", "#a21caf", "#0f766e", "#be123c",
];

const STYLE: &str = "text{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;fill:#1e293b}\
.title{font-size:17px;font-weight:600}.dim{fill:#64748b}.phase{font-weight:600}\
.mid{text-anchor:middle}.grid{stroke:#e2e8f0}.ready{stroke:#16a34a;stroke-width:1.5;stroke-dasharray:5 4}\
.go{fill:#15803d;font-weight:600}";

/// The picture, as an SVG document.
pub fn render(timeline: &Timeline) -> String {
    let chart = Chart { length: timeline.length_ms(), rows: timeline.steps.len() };
    let mut svg = chart.frame(timeline);
    chart.ticks(&mut svg);
    for (row, step) in timeline.steps.iter().enumerate() {
        chart.step(&mut svg, row, step);
    }
    if let Some(ms) = timeline.ready_ms {
        chart.ready(&mut svg, ms);
    }
    svg.push_str("</svg>\n");
    svg
}

struct Chart {
    /// What the axis spans, in milliseconds.
    length: i64,
    rows: usize,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of a join and rows of a picture are far below 2^52"
)]
impl Chart {
    fn x(&self, ms: i64) -> f64 {
        LEFT + ms.clamp(0, self.length) as f64 / self.length as f64 * AXIS
    }

    fn bottom(&self) -> f64 {
        TOP + self.rows as f64 * ROW
    }

    /// The head of the document, the background and the title.
    fn frame(&self, timeline: &Timeline) -> String {
        let (width, height) = (LEFT + AXIS + RIGHT, self.bottom() + 40.0);
        let how = match timeline.ready_ms {
            Some(ms) => format!("Ready {} after the start", time(ms)),
            None => "not Ready yet".to_owned(),
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{node}: {how}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"20\" y=\"32\" class=\"title\">{node}</text>\n\
             <text x=\"20\" y=\"52\" class=\"dim\">{how}; the agent started at {at}</text>\n",
            node = escape(&timeline.node),
            at = timeline.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        )
    }

    /// Vertical lines at round times.
    fn ticks(&self, svg: &mut String) {
        let step = round_step(self.length);
        let mut ms = 0;
        while ms <= self.length {
            let (x, bottom) = (self.x(ms), self.bottom() + 6.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" class=\"grid\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" class=\"dim mid\">{}</text>",
                bottom + 16.0,
                time(ms)
            );
            ms += step;
        }
    }

    /// A step's label, bar and duration.
    fn step(&self, svg: &mut String, row: usize, step: &Done) {
        let (from, to) = (self.x(step.from_ms), self.x(step.to_ms));
        let y = TOP + row as f64 * ROW + (ROW - BAR) / 2.0;
        // A step of a millisecond is to be seen too.
        let width = (to - from).max(2.5);
        let text = y + BAR - 3.0;
        let took = time(step.to_ms - step.from_ms);
        let phase = step.phase.as_str();
        let _ = writeln!(
            svg,
            "<g><title>{phase}: {full}, {took}, from {begin}</title>\
             <text x=\"20\" y=\"{text}\" class=\"phase\" style=\"fill:{colour}\">{phase}</text>\
             <text x=\"124\" y=\"{text}\">{what}</text>\
             <rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2.5\" fill=\"{colour}\"/>\
             <text x=\"{after:.1}\" y=\"{text}\" class=\"dim\">{took}</text></g>",
            full = escape(&step.what),
            begin = time(step.from_ms),
            colour = colour(step.phase),
            what = escape(&shortened(&step.what)),
            after = from + width + 6.0,
        );
    }

    /// The line at which the Node was Ready.
    fn ready(&self, svg: &mut String, ms: i64) {
        let x = self.x(ms);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" class=\"ready\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" class=\"go mid\">Ready {}</text>",
            TOP - 6.0,
            self.bottom() + 6.0,
            TOP - 12.0,
            time(ms)
        );
    }
}

fn colour(phase: Phase) -> &'static str {
    let index = Phase::ALL.iter().position(|&known| known == phase).unwrap_or_default();
    COLOURS[index % COLOURS.len()]
}

/// 1, 2 or 5 times a power of ten, so that five to ten ticks stand on the axis.
fn round_step(length: i64) -> i64 {
    let steps = (0..16).map(|power| 10_i64.pow(power)).flat_map(|ten| [ten, 2 * ten, 5 * ten]);
    steps.into_iter().find(|step| length / step < 10).unwrap_or(length)
}

/// Milliseconds as a person reads them.
fn time(ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let seconds = ms as f64 / 1000.0;
    match ms {
        0 => "0".to_owned(),
        ..1000 => format!("{ms} ms"),
        1000..100_000 if ms % 1000 == 0 => format!("{} s", ms / 1000),
        1000..100_000 if ms % 100 == 0 => format!("{seconds:.1} s"),
        1000..10_000 => format!("{seconds:.2} s"),
        10_000..100_000 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// The end of a path says more than its middle.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= LABEL {
        return text.to_owned();
    }
    let head: String = text.chars().take(14).collect();
    let tail: String = text.chars().skip(count - (LABEL - 15)).collect();
    format!("{head}…{tail}")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no place for other control characters, not even escaped.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::join;
    use super::*;

    #[test]
    fn a_join_is_drawn() {
        // A phase that is added moves the colours, and that is no change of the picture.
        let filters = vec![(r"fill(:|=.)#[0-9a-f]{6}", "fill$1#colour")];
        insta::with_settings!({filters => filters}, { insta::assert_snapshot!("join", render(&join())) });
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (length, step) in
            [(1, 1), (9, 1), (10, 2), (950, 100), (6050, 1000), (9840, 1000), (61_000, 10_000)]
        {
            assert_eq!(round_step(length), step, "{length}");
        }
        for length in 1..20_000 {
            assert!(length / round_step(length) < 10);
        }
    }

    #[test]
    fn every_phase_has_a_colour_of_its_own() {
        let colours: std::collections::BTreeSet<&str> = Phase::ALL.into_iter().map(colour).collect();
        assert_eq!(colours.len(), Phase::ALL.len());
    }

    #[test]
    fn nothing_in_a_step_is_markup() {
        let mut timeline = join();
        timeline.steps[0].what = "write <a> & \"b\"\u{1b}".to_owned();
        let svg = render(&timeline);
        assert!(svg.contains("write &lt;a&gt; &amp; &quot;b&quot;\u{fffd}") && !svg.contains("<a>"), "{svg}");
    }

    #[test]
    fn long_labels_keep_their_end() {
        let long = "install /var/lib/kubelet/pki/kubelet-client-2026-01-02-03-04-05.pem";
        let short = shortened(long);
        assert_eq!(short.chars().count(), LABEL);
        assert!(
            short.starts_with("install /var/l…") && short.ends_with("2026-01-02-03-04-05.pem"),
            "{short}"
        );
        assert_eq!(shortened("reload systemd"), "reload systemd");
    }

    #[test]
    fn an_empty_timeline_is_a_picture_too() {
        let mut timeline = join();
        timeline.steps.clear();
        timeline.ready_ms = None;
        let svg = render(&timeline);
        assert!(svg.contains("not Ready yet") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
