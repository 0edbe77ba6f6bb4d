//! The chart of the README: instructions of a request, or nanoseconds where they were not counted.

use std::fmt::Write as _;
use std::{env, fs, path};

use crate::measure::{Figures, Group};

const ROW: f64 = 24.0;
const LABELS: f64 = 250.0;
const BARS: f64 = 430.0;
const WIDTH: f64 = 760.0;

/// Writes the chart of a group beside this package's manifest.
pub fn write(group: &Group, figures: &[Figures]) {
    let counted = figures.iter().all(|figures| figures.instructions.is_some());
    let value =
        |figures: &Figures| figures.instructions.filter(|_| counted).unwrap_or(figures.nanos);
    let unit = if counted { "instructions" } else { "ns" };
    let most = figures.iter().map(value).fold(0.0, f64::max).ln();
    let least = figures.iter().map(value).fold(f64::MAX, f64::min).ln() - 1.0;
    let height = ROW * (group.cases.len() as f64 + 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\" font-weight=\"bold\">{}: {unit} per request (logarithmic)</text>\n",
        group.title
    );
    for (index, (case, figures)) in group.cases.iter().zip(figures).enumerate() {
        let y = ROW * (index as f64 + 1.5);
        let width = BARS * (value(figures).ln() - least) / (most - least);
        let fill = match case.name.starts_with("Require") || case.name.starts_with("Bearer") {
            true => "#2563eb",
            false => "#94a3b8",
        };
        let (text, bar) = (y + 12.0, y);
        writeln!(
            svg,
            "<text x=\"8\" y=\"{text}\">{}</text><rect x=\"{LABELS}\" y=\"{bar}\" width=\"{width:.0}\" \
             height=\"16\" fill=\"{fill}\"/><text x=\"{:.0}\" y=\"{text}\">{:.0}</text>",
            case.name,
            LABELS + width + 6.0,
            value(figures),
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    let directory =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(Default::default, path::PathBuf::from);
    fs::write(directory.join("../../src/docs/chart.svg"), svg).unwrap();
}
