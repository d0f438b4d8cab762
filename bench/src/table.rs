//! Results as text: the table on the screen, the rows of the report, and the line of JSON.

use serde_json::{Value, json};

use crate::measure::{Goal, Measured};

/// The heads of the columns.
pub(crate) const COLUMNS: [&str; 9] =
    ["case", "size", "unit", "ours", "baseline", "ratio", "spread", "goal", ""];

/// One row, as long as [`COLUMNS`].
pub(crate) fn row(result: &Measured) -> [String; 9] {
    let case = &result.case;
    let none = || "–".to_owned();
    let ours = match case.note {
        Some(each) => {
            let (all, size) = (result.ours(), case.size as f64);
            format!("{} ({} {each})", figure(all), figure(all / size))
        }
        None => figure(result.ours()),
    };
    let ratio = |ratio: f64| format!("{ratio:.2}");
    let (low, high) = result.spread();
    let spread = match (result.rounds.len(), result.baseline()) {
        (1, _) => none(),
        (_, Some(_)) => format!("{}–{}", ratio(low), ratio(high)),
        (_, None) => format!("{}–{}", figure(low), figure(high)),
    };
    [
        case.name.to_owned(),
        case.size.to_string(),
        case.unit.to_owned(),
        ours,
        result.baseline().map_or_else(none, figure),
        result.ratio().map_or_else(none, ratio),
        spread,
        goal(case.goal),
        if result.reached() { "reached" } else { "MISSED" }.to_owned(),
    ]
}

/// The table for the screen.
pub(crate) fn plain(results: &[Measured]) -> String {
    let rows: Vec<_> =
        std::iter::once(COLUMNS.map(str::to_owned)).chain(results.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..COLUMNS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The table for the report.
pub(crate) fn markdown(results: &[Measured]) -> String {
    let line = |cells: [String; 9]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(COLUMNS.map(str::to_owned));
    text.push_str(&line(COLUMNS.map(|_| "---".to_owned())));
    results.iter().for_each(|result| text.push_str(&line(row(result))));
    text
}

/// All results in one line.
pub(crate) fn json(results: &[Measured]) -> String {
    let object = |result: &Measured| {
        json!({
            "case": result.case.name,
            "size": result.case.size,
            "ours": result.ours(),
            "baseline": result.baseline(),
            "ratio": result.ratio(),
            "unit": result.case.unit,
        })
    };
    Value::Array(results.iter().map(object).collect()).to_string()
}

/// What is to be reached, in words.
fn goal(goal: Goal) -> String {
    match goal {
        Goal::RatioAtLeast(ratio) => format!("ratio ≥ {ratio:.2}"),
        Goal::RatioAtMost(ratio) => format!("ratio ≤ {ratio:.2}"),
        Goal::AtMost(most) => format!("≤ {}", figure(most)),
    }
}

/// A number with as many digits as can be told apart, large ones in groups of three.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1000.0 {
        return format!("{value:.0}");
    }
    if value.abs() < 1000.0 {
        return if value.abs() < 10.0 { format!("{value:.4}") } else { format!("{value:.1}") };
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Case, Round};

    fn result(goal: Goal, baseline: Option<f64>) -> Measured {
        let case = Case::new(("one-way", 64, "messages/s"), goal, |_| Ok(Round::from(0.0)));
        let rounds = [3_000_000.0, 1_000_000.0, 2_000_000.0];
        Measured { case, rounds: rounds.map(|ours| Round { ours, baseline }).to_vec() }
    }

    #[test]
    fn a_row_says_all_there_is() {
        let result = result(Goal::RatioAtLeast(0.6), Some(4_000_000.0));
        let expected = [
            "one-way",
            "64",
            "messages/s",
            "2 000 000",
            "4 000 000",
            "0.50",
            "0.25–0.75",
            "ratio ≥ 0.60",
            "MISSED",
        ];
        assert_eq!(row(&result), expected);
        let plain = plain(&[result]);
        assert_eq!(plain.lines().count(), 2, "{plain}");
    }

    #[test]
    fn json_has_the_fields_that_were_promised() {
        let results =
            [result(Goal::RatioAtLeast(0.6), Some(4_000_000.0)), result(Goal::AtMost(5.0), None)];
        let value: Value = serde_json::from_str(&json(&results)).unwrap();
        let with = json!({ "case": "one-way", "size": 64, "ours": 2e6, "baseline": 4e6,
            "ratio": 0.5, "unit": "messages/s" });
        assert_eq!(value[0], with);
        assert_eq!((&value[1]["baseline"], &value[1]["ratio"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn figures_keep_what_can_be_told_apart() {
        let shown = [0.0, 0.00117, 12.34, 512.0, 16384.0, 2_345_678.9, f64::NAN].map(figure);
        assert_eq!(shown, ["0", "0.0012", "12.3", "512", "16 384", "2 345 679", "?"]);
    }
}
