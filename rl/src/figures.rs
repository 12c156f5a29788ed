//! How shares and differences are written: the one place that rounds, for the terminal, the log and the report. JSON keeps the
//! numbers whole, and whoever rounds them half away from zero gets the same figures.

/// A share or a difference of shares to a tenth of a point, half away from zero.
pub fn rounded(share: f64) -> f64 {
    // A tie in decimal is hardly ever one in binary, so that the last digits of a double are rounded off first.
    let tenths = (share * 1e12).round() / 1e9;
    // Adding 0 takes the sign off a zero.
    tenths.round() / 1e3 + 0.0
}

/// A share in percent with one digit: `59.1`; `-` for none.
pub fn percent(share: f64) -> String {
    if share.is_nan() {
        return "-".to_owned();
    }
    format!("{:.1}", rounded(share) * 100.0)
}

/// A difference of shares in points with one digit, with its sign unless it rounds to 0: `+29.1`, `-0.3`, `0.0`.
pub fn points(difference: f64) -> String {
    let sign = if rounded(difference) > 0.0 { "+" } else { "" };
    format!("{sign}{}", percent(difference))
}

/// An interval of shares or of differences, in percent or points: `[26.4, 31.4]`.
pub fn interval([low, high]: [f64; 2]) -> String {
    format!("[{}, {}]", percent(low), percent(high))
}

/// A p-value with three digits: `0.013`, `< 0.001`.
pub fn chance(p_value: f64) -> String {
    if p_value < 0.0005 { "< 0.001".to_owned() } else { format!("{p_value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_away_from_zero_and_zero_has_no_sign() {
        // In binary 0.2915 is a little less than that.
        assert_eq!([0.2915, 0.0005, 0.5915, 1.0, 0.0].map(percent), ["29.2", "0.1", "59.2", "100.0", "0.0"]);
        assert_eq!([0.291, -0.0031, -0.0004, -0.0005, 0.0].map(points), ["+29.1", "-0.3", "0.0", "-0.1", "0.0"]);
        assert_eq!(interval([-0.25, 0.264]), "[-25.0, 26.4]");
    }

    #[test]
    fn what_is_rounded_stays_as_it_is() {
        for thousandth in -1000..=1000 {
            let share = f64::from(thousandth) / 1e3;
            assert!((rounded(share) - share).abs() < 1e-15 && rounded(rounded(share)) == rounded(share), "{share}");
        }
    }
}
