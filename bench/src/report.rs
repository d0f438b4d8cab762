//! Writes what was measured into `docs/benchmarks.md`, between two marks, with plots beside it. What
//! people have written around the marks stays.

use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::Failure;
use crate::machine::Machine;
use crate::measure::{Effort, Goal, Measured};
use crate::table;

const BEGIN: &str = "<!-- measured: written by `cargo xtask bench --report` -->";
const END: &str = "<!-- end of what was measured -->";

const OURS: RGBColor = RGBColor(0x2a, 0x6f, 0xb0);
const BASELINE: RGBColor = RGBColor(0xb4, 0xb8, 0xbd);
const GOAL: RGBColor = RGBColor(0xc2, 0x3b, 0x22);

/// Where the names end and the bars begin, in pixels.
const BARS_FROM: i32 = 330;
const BARS_WIDTH: i32 = 480;
const WIDTH: u32 = 900;
const TOP: i32 = 34;

/// Writes page and plots below the `docs` of this workspace.
pub(crate) fn write(
    results: &[Measured],
    machine: &Machine,
    effort: Effort,
) -> Result<(), Failure> {
    let docs = docs();
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots)?;
    plot_ratios(results, &plots.join("ratios.svg")).map_err(|error| plot_failed(&*error))?;
    plot_rates(results, &plots.join("rates.svg")).map_err(|error| plot_failed(&*error))?;
    let page = docs.join("benchmarks.md");
    let old = match fs::read_to_string(&page) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("# Benchmarks\n\n{BEGIN}\n{END}\n")
        }
        Err(error) => return Err(error.into()),
    };
    let new = replaced(&old, &measured(results, machine, effort))
        .ok_or_else(|| format!("{} has lost its marks", page.display()))?;
    fs::write(&page, new)?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

fn docs() -> PathBuf {
    // Cargo sets it for what it runs; anything else is run from the root.
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = root.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    root.join("docs")
}

fn measured(results: &[Measured], machine: &Machine, effort: Effort) -> String {
    let (table, rounds) = (table::markdown(results), effort.describe());
    let warning = match effort {
        Effort::Full => "",
        _ => "\n**These are not figures to quote**: the rounds were too short.\n",
    };
    format!(
        "On {machine}; {rounds}. Medians; the spread is the lowest and the highest round, of the\n\
         ratio where there is one.\n{warning}\n{table}\n\
         ![Speed as a multiple of the baseline](benchmarks/ratios.svg)\n\n\
         ![Messages per second](benchmarks/rates.svg)\n"
    )
}

/// `page` with `text` between the marks; None where it has none.
fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

fn plot_failed(error: &dyn StdError) -> Failure {
    format!("a plot cannot be written: {error}").into()
}

type Plotted = Result<(), Box<dyn StdError>>;

/// How fast we are as a multiple of the baseline, also where a case measures time, and the goal.
fn plot_ratios(results: &[Measured], path: &Path) -> Plotted {
    let rows: Vec<_> = results
        .iter()
        .filter_map(|result| {
            let ratio = result.ratio()?;
            let (speed, goal) = match result.case.goal {
                Goal::RatioAtLeast(goal) => (ratio, goal),
                Goal::RatioAtMost(goal) => (ratio.recip(), goal.recip()),
                Goal::AtMost(_) => return None,
            };
            speed.is_finite().then(|| (result.case.title(), speed, goal))
        })
        .collect();
    let highest = rows.iter().map(|row| row.1.max(row.2)).fold(1.0, f64::max);
    let canvas = Canvas { row_height: 24, rows: rows.len(), highest };
    let root = SVGBackend::new(path, canvas.size()).into_drawing_area();
    root.fill(&WHITE)?;
    let legend = "speed as a multiple of the baseline (gray line: as fast; red: the goal)";
    root.draw(&text(legend, 10, 8))?;
    let parity = canvas.x(1.0);
    root.draw(&PathElement::new([(parity, TOP), (parity, canvas.bottom())], BASELINE))?;
    for (index, (name, speed, goal)) in rows.iter().enumerate() {
        let y = canvas.y(index);
        let goal = canvas.x(*goal);
        root.draw(&text(name, 10, y + 3))?;
        root.draw(&bar(y + 2, canvas.x(*speed), 16, OURS))?;
        let mark = ShapeStyle::from(GOAL).stroke_width(2);
        root.draw(&PathElement::new([(goal, y), (goal, y + 20)], mark))?;
        root.draw(&text(&format!("{speed:.2}"), canvas.x(*speed) + 6, y + 3))?;
    }
    root.present()?;
    Ok(())
}

/// Messages per second, ours above the baseline's, on a scale of powers of ten.
fn plot_rates(results: &[Measured], path: &Path) -> Plotted {
    let rows: Vec<_> = results
        .iter()
        .filter(|result| result.case.unit == "messages/s")
        .filter_map(|result| Some((result.case.title(), result.ours(), result.baseline()?)))
        .collect();
    // So that the shortest bar still is one.
    let decades = |rate: f64| rate.max(1.0).log10() - 2.0;
    let highest = rows.iter().map(|row| decades(row.1.max(row.2))).fold(1.0, f64::max);
    let canvas = Canvas { row_height: 36, rows: rows.len(), highest };
    let root = SVGBackend::new(path, canvas.size()).into_drawing_area();
    root.fill(&WHITE)?;
    let legend = "messages a second, logarithmic: blue ours, gray the baseline";
    root.draw(&text(legend, 10, 8))?;
    for (index, (name, ours, baseline)) in rows.iter().enumerate() {
        let y = canvas.y(index);
        root.draw(&text(name, 10, y + 8))?;
        for (rate, y, color) in [(*ours, y, OURS), (*baseline, y + 15, BASELINE)] {
            let end = canvas.x(decades(rate).max(0.0));
            root.draw(&bar(y + 1, end, 13, color))?;
            root.draw(&text(&format!("{rate:.0}"), end + 6, y))?;
        }
    }
    root.present()?;
    Ok(())
}

/// Where the rows of a plot are.
struct Canvas {
    row_height: u32,
    rows: usize,
    /// What the longest bar stands for.
    highest: f64,
}

impl Canvas {
    fn size(&self) -> (u32, u32) {
        (WIDTH, self.bottom().unsigned_abs() + 10)
    }

    fn bottom(&self) -> i32 {
        self.y(self.rows)
    }

    fn y(&self, row: usize) -> i32 {
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        TOP.saturating_add_unsigned(row.saturating_mul(self.row_height))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a place on the canvas")]
    fn x(&self, value: f64) -> i32 {
        BARS_FROM + (value / self.highest * f64::from(BARS_WIDTH)) as i32
    }
}

fn bar(y: i32, end: i32, height: i32, color: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(BARS_FROM, y), (end, y + height)], color.filled())
}

fn text(text: &str, x: i32, y: i32) -> Text<'static, (i32, i32), String> {
    Text::new(text.to_owned(), (x, y), ("sans-serif", 16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Case, Round};

    #[test]
    fn only_what_was_measured_is_replaced() {
        let page = format!("# Head\n\n{BEGIN}\nold\n{END}\n\n## Tried\n");
        let once = replaced(&page, "new").unwrap();
        assert_eq!(once, format!("# Head\n\n{BEGIN}\n\nnew\n{END}\n\n## Tried\n"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
        assert_eq!(replaced("# Head\n", "new"), None);
    }

    #[test]
    fn plots_show_every_case_with_a_baseline() {
        let result = |name, unit, goal| {
            let case = Case::new((name, 64, unit), goal, |_| Ok(Round::from(0.0)));
            let round = Round { ours: 2e6, baseline: Some(3e6) };
            Measured { case, rounds: vec![round] }
        };
        let results = [
            result("one-way", "messages/s", Goal::RatioAtLeast(0.6)),
            result("ping-pong", "µs", Goal::RatioAtMost(1.25)),
            result("heap", "bytes", Goal::AtMost(1.0)),
        ];
        let path = |name| std::env::temp_dir().join(format!("{name}-{}.svg", std::process::id()));
        let (ratios, rates) = (path("ratios"), path("rates"));
        plot_ratios(&results, &ratios).unwrap();
        plot_rates(&results, &rates).unwrap();
        let read = |path| {
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(path).unwrap();
            ["one-way", "ping-pong", "heap"].map(|name| text.contains(name))
        };
        assert_eq!(read(ratios), [true, true, false]);
        assert_eq!(read(rates), [true, false, false]);
    }
}
