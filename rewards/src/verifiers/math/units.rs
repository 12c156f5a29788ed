//! Units of measure and what is counted, in a normal form that forgets spelling.

use std::collections::BTreeMap;

/// A product of named units with exponents: m/s^2 is `{m: 1, s: -2}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit(BTreeMap<String, i32>);

impl Unit {
    /// One unit to the power one.
    pub(super) fn one(name: &str) -> Self {
        let mut unit = Self::default();
        unit.multiply(name, 1);
        unit
    }

    /// Whether only measures are named, and nothing that is counted.
    pub(super) fn is_measure(&self) -> bool {
        !self.0.is_empty()
            && self.0.keys().all(|name| ABBREVIATIONS.contains(&name.as_str()) || measure(name).is_some())
    }

    /// Whether nothing is named.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Multiplies by a unit to a power; words that name nothing are skipped.
    pub(super) fn multiply(&mut self, word: &str, exponent: i32) {
        let name = canonical(word);
        if name.is_empty() {
            // "Square units" are no lengths, whatever they are.
            if exponent.abs() > 1 && word.to_lowercase().starts_with("unit") {
                self.add("unit", exponent);
            }
            return;
        }
        for (part, power) in compound(&name).unwrap_or(&[]) {
            self.add(part, power * exponent);
        }
        if compound(&name).is_none() {
            self.add(&name, exponent);
        }
    }

    fn add(&mut self, name: &str, exponent: i32) {
        let power = self.0.get(name).copied().unwrap_or(0).saturating_add(exponent);
        if power == 0 {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), power);
        }
    }
}

fn compound(name: &str) -> Option<&'static [(&'static str, i32)]> {
    Some(match name {
        "mph" => &[("mi", 1), ("h", -1)],
        "kph" | "kmh" | "kmph" => &[("km", 1), ("h", -1)],
        "mps" => &[("m", 1), ("s", -1)],
        "fps" => &[("ft", 1), ("s", -1)],
        "rpm" => &[("revolution", 1), ("min", -1)],
        "sqft" => &[("ft", 2)],
        "Nm" => &[("N", 1), ("m", 1)],
        _ => return None,
    })
}

/// Whether a run of letters is the name of a unit (as opposed to something counted, or variables).
pub(super) fn is_unit(word: &str) -> bool {
    ABBREVIATIONS.contains(&word) || (word.len() > 1 && measure(&word.to_lowercase()).is_some())
}

/// Short names that are read as units where a number stands before them.
const ABBREVIATIONS: &[&str] = &[
    "cm", "mm", "km", "dm", "nm", "mi", "ft", "yd", "kg", "mg", "lb", "lbs", "oz", "ml", "mL", "cL", "dL", "kL", "hr",
    "hrs", "min", "mins", "sec", "secs", "ms", "mph", "kph", "rpm", "Hz", "kHz", "MHz", "GHz", "kN", "kJ", "MJ", "kW",
    "MW", "kWh", "mol", "Pa", "kPa", "atm", "eV", "usd", "USD", "eur", "EUR", "gbp", "GBP", "yr", "yrs", "wk", "gal",
    "qt", "pt", "in", "deg", "rad", "sq", "cu", "kmh", "km/h", "fps", "mps", "MB", "GB", "KB", "kB", "TB", "dB", "ha",
    "mA", "kV", "mV", "mN",
];

/// Whether a word is money, which may stand before its amount.
pub(super) fn is_currency(word: &str) -> bool {
    matches!(canonical(word).as_str(), "usd" | "eur" | "gbp" | "yen" | "inr" | "cny" | "krw")
}

/// Letters that are units when they stand alone, apart from their number.
pub(super) fn is_single_letter(letter: &str) -> bool {
    matches!(letter, "m" | "s" | "g" | "h" | "L" | "l" | "N" | "J" | "W" | "V" | "A" | "K" | "F" | "C" | "T" | "Omega")
}

/// Whether capitals tell a unit from another one: mega from milli, bits from bytes.
pub(super) fn is_cased(word: &str) -> bool {
    matches!(
        word,
        "Mg" | "Mm"
            | "Ms"
            | "Nm"
            | "mN"
            | "MW"
            | "MA"
            | "MV"
            | "MJ"
            | "MN"
            | "MPa"
            | "MHz"
            | "Kb"
            | "kb"
            | "Mb"
            | "Gb"
            | "Tb"
    )
}

fn canonical(word: &str) -> String {
    let exact = match word {
        "L" | "l" => "l",
        "mL" | "ml" => "ml",
        "N" | "J" | "W" | "V" | "A" | "K" | "F" | "C" | "T" | "Hz" | "Pa" => word,
        _ if is_cased(word) => word,
        "M" => "mol/l",
        "Omega" => "ohm",
        _ => "",
    };
    if !exact.is_empty() {
        return exact.to_owned();
    }
    let lower = word.to_lowercase();
    let lower = lower.trim_matches('.').replace(['.', '-'], "");
    measure(&lower).map_or_else(|| singular(&lower), str::to_owned)
}

fn measure(lower: &str) -> Option<&'static str> {
    length(lower).or_else(|| mass_and_volume(lower)).or_else(|| time(lower)).or_else(|| other(lower))
}

fn length(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "m" | "meter" | "meters" | "metre" | "metres" => "m",
        "cm" | "cms" | "centimeter" | "centimeters" | "centimetre" | "centimetres" => "cm",
        "mm" | "millimeter" | "millimeters" | "millimetre" | "millimetres" => "mm",
        "km" | "kms" | "kilometer" | "kilometers" | "kilometre" | "kilometres" => "km",
        "dm" | "decimeter" | "decimeters" => "dm",
        "nm" | "nanometer" | "nanometers" => "nm",
        "mi" | "mile" | "miles" => "mi",
        "ft" | "foot" | "feet" => "ft",
        "in" | "inch" | "inches" => "in",
        "yd" | "yds" | "yard" | "yards" => "yd",
        _ => return None,
    })
}

fn mass_and_volume(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "g" | "gram" | "grams" | "gm" => "g",
        "kg" | "kgs" | "kilogram" | "kilograms" | "kilo" | "kilos" => "kg",
        "mg" | "milligram" | "milligrams" => "mg",
        "lb" | "lbs" | "pound" | "pounds" => "lb",
        "oz" | "ounce" | "ounces" => "oz",
        "ton" | "tons" | "tonne" | "tonnes" => "ton",
        "liter" | "liters" | "litre" | "litres" => "l",
        "milliliter" | "milliliters" | "millilitre" | "millilitres" => "ml",
        "gal" | "gallon" | "gallons" => "gal",
        "qt" | "quart" | "quarts" => "qt",
        "pt" | "pint" | "pints" => "pt",
        _ => return None,
    })
}

fn time(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "min",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "ms" | "millisecond" | "milliseconds" => "ms",
        "day" | "days" => "day",
        "wk" | "week" | "weeks" => "week",
        "month" | "months" => "month",
        "yr" | "yrs" | "year" | "years" => "year",
        _ => return None,
    })
}

fn other(lower: &str) -> Option<&'static str> {
    Some(match lower {
        "$" | "usd" | "dollar" | "dollars" | "bucks" => "usd",
        "eur" | "euro" | "euros" => "eur",
        "gbp" | "sterling" => "gbp",
        "yen" | "jpy" => "yen",
        "rs" | "inr" | "rupee" | "rupees" => "inr",
        "cent" | "cents" => "cent",
        "rmb" | "cny" | "yuan" => "cny",
        "degree" | "degrees" | "deg" | "degs" => "degree",
        "rad" | "radian" | "radians" => "rad",
        "degc" | "celsius" | "centigrade" => "degC",
        "degf" | "fahrenheit" => "degF",
        "kelvin" | "kelvins" => "K",
        "newton" | "newtons" => "N",
        "joule" | "joules" => "J",
        "watt" | "watts" => "W",
        "volt" | "volts" => "V",
        "amp" | "amps" | "ampere" | "amperes" => "A",
        "hertz" | "hz" => "Hz",
        "pascal" | "pascals" => "Pa",
        "ohm" | "ohms" => "ohm",
        "people" | "persons" | "person" => "person",
        "children" | "child" => "child",
        "men" | "man" => "man",
        "women" | "woman" => "woman",
        "unit" | "units" | "st" | "nd" | "rd" | "th" | "the" | "a" | "an" | "total" | "exactly" | "altogether" => "",
        _ => return None,
    })
}

/// A noun without the ending of its plural.
pub(super) fn singular(lower: &str) -> String {
    if let Some(stem) = lower.strip_suffix("ies").filter(|stem| stem.len() > 2) {
        return format!("{stem}y");
    }
    for ending in ["ches", "shes", "xes", "sses"] {
        if lower.ends_with(ending) {
            return lower[..lower.len() - 2].to_owned();
        }
    }
    match lower.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => lower.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_unit_are_one_unit() {
        assert_eq!(Unit::one("centimetres"), Unit::one("cm"));
        assert_eq!(Unit::one("apples"), Unit::one("apple"));
        assert_ne!(Unit::one("cm"), Unit::one("m"));
        let mut speed = Unit::one("miles");
        speed.multiply("hour", -1);
        assert_eq!(speed, Unit::one("mph"));
        assert!(Unit::one("units").is_empty());
    }
}
