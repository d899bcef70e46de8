"""Units of measure and currencies in English: symbol -> spoken singular and plural."""

from __future__ import annotations

from typing import Final

_PREFIXES: Final = {
    "k": "kilo",
    "M": "mega",
    "G": "giga",
    "T": "tera",
    "m": "milli",
    "µ": "micro",
    "μ": "micro",
    "n": "nano",
}
_PREFIXED: Final = {
    "m": "kmµμn", "g": "kmµμn", "l": "m", "L": "m", "s": "mµμn", "Hz": "kMGT", "W": "kMGTm", "Wh": "kMGT",
    "V": "km", "J": "kM", "N": "k", "Pa": "kM", "Ω": "kM", "B": "kMGT", "b": "kMGT", "bit": "kMGT",
    "mol": "m", "eV": "kMG",
}  # fmt: skip
_BASES: Final = {
    "m": "meter", "g": "gram", "l": "liter", "L": "liter", "s": "second", "Hz": "hertz", "W": "watt",
    "Wh": "watt hour", "V": "volt", "J": "joule", "N": "newton", "Pa": "pascal", "Ω": "ohm", "B": "byte",
    "b": "bit", "bit": "bit", "mol": "mole", "eV": "electron volt",
}  # fmt: skip
_SINGLE: Final = {
    "cm": "centimeter", "dm": "decimeter", "cl": "centiliter", "dl": "deciliter", "h": "hour", "hr": "hour",
    "hrs": "hour", "min": "minute", "mins": "minute", "sec": "second", "secs": "second",
    "mph": "mile per hour", "kph": "kilometer per hour", "kmh": "kilometer per hour", "mi": "mile",
    "ft": "foot", "yd": "yard", "yds": "yard", "in.": "inch", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "gal": "gallon", "qt": "quart", "°C": "degree Celsius", "°F": "degree Fahrenheit",
    "° C": "degree Celsius", "° F": "degree Fahrenheit", "℃": "degree Celsius", "℉": "degree Fahrenheit",
    "°": "degree", "º": "degree", "%": "percent", "‰": "per mille", "dB": "decibel",
    "Mbps": "megabit per second", "Gbps": "gigabit per second", "kbps": "kilobit per second",
    "kcal": "kilocalorie", "cal": "calorie", "ha": "hectare", "t": "ton", "px": "pixel",
    "rpm": "revolution per minute", "fps": "frame per second", "ppm": "part per million",
    "bpm": "beat per minute", "kHz": "kilohertz", "hp": "horsepower", "sq ft": "square foot",
    "sq m": "square meter", "ml": "milliliter", "mAh": "milliamp hour", "kg": "kilogram", "¢": "cent",
    "h.": "hour", "lb.": "pound", "oz.": "ounce", "ft.": "foot", "lbs.": "pound", "KB": "kilobyte",
}  # fmt: skip
_IRREGULAR: Final = {"foot": "feet", "inch": "inches"}
_UNCHANGED: Final = ("hertz", "percent", "mille", "Celsius", "Fahrenheit", "horsepower")


def _plural(name: str) -> str:
    """Plural of a unit's spoken name: the noun before "per" changes, and "degree" before its scale."""
    head, per, tail = name.partition(" per ")
    if head.startswith("degree"):
        return head.replace("degree", "degrees", 1)
    first, _, noun = head.rpartition(" ")
    if name == "per mille" or noun.endswith(_UNCHANGED):
        return name
    return " ".join(filter(None, (first, _IRREGULAR.get(noun, noun + "s")))) + per + tail


def _table() -> dict[str, tuple[str, str]]:
    names = dict(_BASES)
    for symbol, prefixes in _PREFIXED.items():
        names.update({prefix + symbol: _PREFIXES[prefix] + _BASES[symbol] for prefix in prefixes})
    names.update(_SINGLE)
    # "5 B", "5 b" and "5 N" are more often labels than quantities.
    return {
        symbol: (name, _plural(name)) for symbol, name in names.items() if symbol not in ("B", "b", "N", "J")
    }


UNITS: Final = _table()

# symbol -> (singular, plural, singular and plural of the hundredth)
CURRENCIES: Final = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("British pound", "British pounds", "penny", "pence"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "JPY": ("yen", "yen", "sen", "sen"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
}
MAGNITUDES: Final = {
    "k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion",
    "tn": "trillion", "thousand": "thousand", "million": "million", "billion": "billion",
    "trillion": "trillion",
}  # fmt: skip
