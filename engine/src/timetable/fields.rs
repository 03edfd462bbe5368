//! Cron fields, brought into one form: names, ranges over the end (`fri-mon`, `22-2`), open steps
//! (`5/15`) and a trailing seconds field become what the parser reads.

/// A field's smallest and largest value, and the names of its values.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { low: 0, high: 59, names: &[] };
const HOUR: Field = Field { low: 0, high: 23, names: &[] };
const DAY: Field = Field { low: 1, high: 31, names: &[] };
const MONTH: Field = Field {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field =
    Field { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

const PRESETS: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// An expression as the parser reads it.
pub(super) struct Normalized {
    /// Six fields, seconds first.
    pub(super) pattern: String,
    /// Whether every hour of the day is in it.
    pub(super) every_hour: bool,
}

/// Normalizes a preset, or an expression of 5 or 6 fields. Errors name the field.
pub(super) fn normalize(expr: &str) -> Result<Normalized, String> {
    let expr = expr.trim().to_ascii_lowercase();
    let expr = PRESETS.iter().find(|(name, _)| *name == expr).map_or(expr.as_str(), |(_, e)| e);
    let parts: Vec<&str> = expr.split_whitespace().collect();
    if !(5..=6).contains(&parts.len()) {
        return Err(format!("it has {} fields; 5 or 6 are expected", parts.len()));
    }
    let seconds = match parts.get(5) {
        Some(text) => MINUTE.normalize(text, "second")?,
        None => "0".to_owned(),
    };
    let hours = HOUR.normalize(parts[1], "hour")?;
    let pattern = [
        seconds,
        MINUTE.normalize(parts[0], "minute")?,
        hours.clone(),
        DAY.normalize(parts[2], "day")?,
        MONTH.normalize(parts[3], "month")?,
        WEEKDAY.normalize(parts[4], "weekday")?,
    ];
    let every_hour = hours == "*" || hours.split(',').count() == 24;
    Ok(Normalized { pattern: pattern.join(" "), every_hour })
}

impl Field {
    /// `*` alone keeps its meaning for the day rule; all else becomes a sorted list of values and
    /// special items (`L`, `2#3`).
    fn normalize(&self, text: &str, what: &str) -> Result<String, String> {
        if text == "*" || text == "?" {
            return Ok("*".to_owned());
        }
        let mut values = std::collections::BTreeSet::new();
        let mut special = Vec::new();
        for item in text.split(',') {
            let expanded = match self.special(item) {
                Some(text) => {
                    special.push(text);
                    continue;
                }
                None => self.expand(item),
            };
            values.extend(expanded.ok_or_else(|| format!("{item:?} is not a {what}"))?);
        }
        special.extend(values.into_iter().map(|value| value.to_string()));
        Ok(special.join(","))
    }

    /// `l` (last day of the month), `fri#2` (second Friday), `l5` or `5l` (last Friday).
    fn special(&self, item: &str) -> Option<String> {
        if self.high == DAY.high && self.low == DAY.low {
            return (item == "l").then(|| "L".to_owned());
        }
        if self.high != WEEKDAY.high {
            return None;
        }
        if let Some((day, nth)) = item.split_once('#') {
            let nth: u32 = nth.parse().ok().filter(|n| (1..=5).contains(n))?;
            return Some(format!("{}#{nth}", self.value(day)? % 7));
        }
        let day = item.strip_prefix('l').or_else(|| item.strip_suffix('l'))?;
        Some(format!("{}L", self.value(day)? % 7))
    }

    fn expand(&self, item: &str) -> Option<Vec<u32>> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|s| *s > 0)?)),
            None => (item, None),
        };
        let (first, last) = if range == "*" {
            (self.low, self.high)
        } else if let Some((first, last)) = range.split_once('-') {
            (self.value(first)?, self.value(last)?)
        } else {
            let first = self.value(range)?;
            (first, if step.is_some() { self.high } else { first })
        };
        let wrapped: Vec<u32> = if first <= last {
            (first..=last).collect()
        } else {
            (first..=self.high).chain(self.low..=last).collect()
        };
        let fold = |value: u32| if self.high == WEEKDAY.high { value % 7 } else { value };
        Some(wrapped.into_iter().step_by(step.unwrap_or(1)).map(fold).collect())
    }

    /// A number or name. Sunday may be 7.
    fn value(&self, text: &str) -> Option<u32> {
        if let Some(at) = self.names.iter().position(|name| *name == text) {
            return u32::try_from(at).ok().map(|at| at + self.low);
        }
        let high = if self.high == WEEKDAY.high { 7 } else { self.high };
        text.parse().ok().filter(|value| (self.low..=high).contains(value))
    }
}
