//! What a bench found: lines as they come, or one JSON object at the end.

use serde_json::{Map, Value};

use crate::output::Format;

/// Collects figures.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    figures: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(format: Format) -> Self {
        Self { json: format == Format::Json, figures: Map::new() }
    }

    /// One figure, with its line for people.
    pub(crate) fn add(&mut self, name: &str, figure: impl Into<Value>, line: &str) {
        self.figures.insert(name.to_owned(), figure.into());
        self.line(line);
    }

    /// A figure that another one's line has said already.
    pub(crate) fn add_quietly(&mut self, name: &str, figure: impl Into<Value>) {
        self.figures.insert(name.to_owned(), figure.into());
    }

    /// A line that is no figure.
    pub(crate) fn line(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }

    /// Prints the object, if asked for.
    pub(crate) fn end(self) {
        if self.json {
            println!("{:#}", Value::Object(self.figures));
        }
    }
}

/// A figure to three significant places: the rest is noise.
pub(crate) fn rounded(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return 0.0;
    }
    let places = 10_f64.powf(2.0 - figure.abs().log10().floor());
    (figure * places).round() / places
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn three_places_are_kept() {
        for (figure, expected) in [(12_345.0, 12_300.0), (0.012_345, 0.0123), (0.0, 0.0)] {
            assert!((rounded(figure) - expected).abs() < 1e-9, "{figure}");
        }
    }
}
