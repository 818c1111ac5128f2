//! Ranges of numbers on an axis: `1..64`, `50..800 step 50`, `1..1000 times 10`. Pure.

use super::value::{Limit, Refusal, Value};

/// What stands between both ends.
const BETWEEN: &str = "..";
/// Most values of a range.
const VALUES_MAX: usize = 10_000;
/// Sums and products of fractions are rounded: an end counts as reached from this far before it.
const CLOSE: f64 = 1e-9;

/// Whether a text is to be a range.
pub fn is_range(text: &str) -> bool {
    text.contains(BETWEEN)
}

/// The values of a range, from its first end on and not beyond its second; each twice the one before, unless it says otherwise.
///
/// # Errors
/// It is no range, has too many values, or one that the limit does not take.
pub fn read(text: &str, limit: Limit, remedy: &str) -> Result<Vec<Value>, Refusal> {
    let help = || "write it as 1..64 (1, 2, 4 .. 64), 50..800 step 50 (50, 100 .. 800) or 1..1000 times 10".to_owned();
    let refusal = || ("a range of numbers".to_owned(), help());
    let (from, rest) = text.split_once(BETWEEN).ok_or_else(refusal)?;
    let mut words = rest.split_whitespace();
    let number = |word: &str| word.trim().parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(refusal);
    let (from, to) = (number(from)?, number(words.next().unwrap_or_default())?);
    let by = match (words.next(), words.next(), words.next()) {
        (None, ..) => By::Factor(2.0),
        (Some("step"), Some(step), None) => By::Step(number(step)?),
        (Some("times"), Some(factor), None) => By::Factor(number(factor)?),
        _ => return Err(refusal()),
    };
    let is_rising = match by {
        By::Step(step) => step > 0.0,
        By::Factor(factor) => factor > 1.0 && from > 0.0,
    };
    if !is_rising || from > to {
        return Err(("a range that rises to its second end".to_owned(), help()));
    }
    let mut values: Vec<Value> = Vec::new();
    for place in 0.. {
        let at = match by {
            By::Step(step) => from + step * f64::from(place),
            By::Factor(factor) => from * factor.powi(place),
        };
        if at > to * (1.0 + CLOSE) {
            break;
        }
        let value = match limit {
            Limit::Whole(..) => limit.whole(at.round() as i64, remedy)?,
            _ => limit.number(tidy(at.min(to)), remedy)?,
        };
        // whole numbers that are close together are rounded to the same
        if values.last() != Some(&value) {
            values.push(value);
        }
        if values.len() > VALUES_MAX {
            return Err((format!("a range of at most {VALUES_MAX} values"), help()));
        }
    }
    Ok(values)
}

/// How a value follows from the one before.
#[derive(Clone, Copy)]
enum By {
    Step(f64),
    Factor(f64),
}

/// A number without what adding fractions leaves behind.
fn tidy(number: f64) -> f64 {
    format!("{number:.9}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, limit: Limit) -> Result<String, Refusal> {
        let values = read(text, limit, "choose another")?;
        Ok(values.iter().map(Value::to_string).collect::<Vec<_>>().join(" "))
    }

    const WHOLE: Limit = Limit::Whole(1, 1024);
    const NUMBER: Limit = Limit::Number(0.001, 1e6);

    #[test]
    fn ranges_double_step_or_multiply_and_end_at_their_end() {
        for (text, limit, values) in [
            ("1..64", WHOLE, "1 2 4 8 16 32 64"),
            ("1..100", WHOLE, "1 2 4 8 16 32 64"),
            ("3..3", WHOLE, "3"),
            ("1 .. 10 step 3", WHOLE, "1 4 7 10"),
            ("1..3 times 1.2", WHOLE, "1 2 3"),
            ("50..200 step 50", NUMBER, "50 100 150 200"),
            ("0.1..0.4 step 0.1", NUMBER, "0.1 0.2 0.3 0.4"),
            ("1..1000 times 10", NUMBER, "1 10 100 1000"),
        ] {
            assert_eq!(shown(text, limit), Ok(values.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_how_to_write_one() {
        for text in ["..", "1..", "..8", "a..b", "1..8 step", "1..8 by 2", "1..8 step 2 more", "1..inf", "nan..2"] {
            let (expected, help) = shown(text, WHOLE).unwrap_err();
            assert_eq!(expected, "a range of numbers", "{text}");
            assert!(help.contains("50..800 step 50"), "{text}");
        }
        for text in ["8..1", "1..8 step 0", "1..8 step -1", "1..8 times 1", "0..8", "-4..8"] {
            assert_eq!(shown(text, WHOLE).unwrap_err().0, "a range that rises to its second end", "{text}");
        }
        // each value is within the axis's limits, and there are not too many of them
        assert_eq!(shown("1..4096", WHOLE).unwrap_err().0, "an integer from 1 to 1024");
        assert_eq!(shown("1..100000 step 1", NUMBER).unwrap_err().0, "a range of at most 10000 values");
    }
}
