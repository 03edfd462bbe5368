//! Listings as a table, JSON or plain text. Data goes to stdout, everything else to stderr.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns with a rule under the header.
    #[default]
    Table,
    /// A JSON array of objects.
    Json,
    /// Columns without rules, for `awk`.
    Plain,
}

/// One row: column name and value, in column order.
pub(crate) type Row = Map<String, Value>;

/// Makes a row from `("column", value)` pairs.
pub(crate) fn row<const N: usize>(cells: [(&str, Value); N]) -> Row {
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Prints rows. `columns` gives the header even when there are none.
pub(crate) fn print(format: Format, columns: &[&str], rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = match format {
        Format::Json => {
            let mut text = serde_json::to_string_pretty(rows).unwrap_or_else(|_| "[]".to_owned());
            text.push('\n');
            text
        }
        Format::Table if rows.is_empty() => "No data found\n".to_owned(),
        Format::Table => grid(columns, rows, " | ", true),
        Format::Plain => grid(columns, rows, " ", false),
    };
    out.write_all(text.as_bytes())
}

fn grid(columns: &[&str], rows: &[Row], separator: &str, ruled: bool) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| (*c).to_owned()).collect()];
    for row in rows {
        lines.push(columns.iter().map(|c| cell(row.get(*c).unwrap_or(&Value::Null))).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join(separator).trim_end());
        text.push('\n');
        if ruled && number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "=".repeat(*width)).collect();
            text.push_str(&rule.join("=+="));
            text.push('\n');
        }
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            texts.join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_missing_cells_are_empty() {
        let rows = [row([("a", json!("long value")), ("b", json!(1))]), row([("a", json!("x"))])];
        let text = grid(&["a", "b"], &rows, " | ", true);
        assert_eq!(text, "a          | b\n===========+==\nlong value | 1\nx          |\n");
    }
}
