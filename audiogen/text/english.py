"""What English says for numbers, money, dates, times, telephone numbers and quantities."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from audiogen.text.numbers import cardinal, decimal, digits, ordinal, year
from audiogen.text.rules import Rule, rule, vocabulary, word_before
from audiogen.text.units import CURRENCIES, MAGNITUDES, UNITS

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_MONTH: Final = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_WHOLE: Final = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_SIGN: Final = r"(?P<sign>(?<![\w.)\]%])[-−–+](?=[\d.$£€¥]))?"
_NUMBER: Final = rf"(?:(?P<whole>{_WHOLE})(?:\.(?P<fraction>\d+))?|(?<!\w)\.(?P<bare>\d+))"
_UNIT: Final = "|".join(re.escape(symbol) for symbol in sorted(UNITS, key=len, reverse=True))
_CODE: Final = "|".join(re.escape(code) for code in sorted(CURRENCIES, key=len, reverse=True))
_SPOKEN_SIGN: Final = {"-": ["minus"], "−": ["minus"], "–": ["minus"], "+": ["plus"], "": []}
_DIGITS_AFTER: Final = vocabulary("extension ext password passcode pin code zip zipcode account")
_BEFORE_DECADES: Final = vocabulary("the her his their my our your its mid early late")
_POWERS: Final = {"²": "squared", "³": "cubed"}
_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def _amount(match: re.Match[str]) -> list[str]:
    """Words of the groups whole, fraction and bare of `_NUMBER`."""
    whole = (match["whole"] or "").replace(",", "")
    return decimal(whole, match["fraction"] or match["bare"] or "", "point")


def _is_one(match: re.Match[str]) -> bool:
    return match["whole"] == "1" and not match["fraction"]


def _sign(match: re.Match[str]) -> list[str]:
    return _SPOKEN_SIGN[match["sign"] or ""]


def _money(match: re.Match[str]) -> list[str] | None:
    """Money: "$12.50", "£3m", "5 €", "USD 20"."""
    one, many, cent, cents = CURRENCIES[match["code"]]
    magnitude = match["magnitude"]
    fraction = match["fraction"] or match["bare"] or ""
    if magnitude:
        return [*_sign(match), *_amount(match), MAGNITUDES[magnitude.lower()], *many.split()]
    if len(fraction) != 2 or not cent:
        return [*_sign(match), *_amount(match), *(one if _is_one(match) else many).split()]
    whole = (match["whole"] or "0").replace(",", "")
    words = [*cardinal(whole), *(one if whole == "1" else many).split()] if whole.strip("0") else []
    if fraction != "00":
        hundredths = [*cardinal(str(int(fraction))), cent if fraction == "01" else cents]
        words += ["and", *hundredths] if words else hundredths
    return _sign(match) + (words or ["zero", *many.split()])


def _date(day: str, month: int, year_digits: str, american: bool) -> list[str] | None:
    """A date in words, or None if there is no such day."""
    if not (1 <= month <= 12 and 1 <= int(day) <= 31):
        return None
    day_words = ordinal(str(int(day)))
    if len(year_digits) == 2:
        year_digits = ("20" if int(year_digits) < 50 else "19") + year_digits
    words = [MONTHS[month - 1], *day_words] if american else ["the", *day_words, "of", MONTHS[month - 1]]
    return words + (year(year_digits) if year_digits else [])


def _numeric_date(match: re.Match[str], american: bool) -> list[str] | None:
    """A date in digits, "3/4/2025": month first in American English if that gives a date."""
    first, second = int(match["first"]), int(match["second"])
    if match["separator"] != "/" and len(match["year"]) == 2:
        return None
    month_first = (american or second > 12) and first <= 12 and match["separator"] != "."
    day, month = (second, first) if month_first else (first, second)
    return _date(str(day), month, match["year"], american)


def _month_number(name: str) -> int:
    return 1 + next(index for index, month in enumerate(MONTHS) if month.startswith(name.rstrip(".")[:3]))


def _named_date(match: re.Match[str], american: bool) -> list[str] | None:
    """A date with the name of its month: "March 4, 2025", "4 March 2025"."""
    day_first = match.start("day") < match.start("month")
    return _date(match["day"], _month_number(match["month"]), match["year"] or "", american and not day_first)


def _decade(match: re.Match[str]) -> list[str] | None:
    """A decade: "1990s", "'90s"."""
    number = match["decade"]
    if len(number) == 2 and match[0][0].isdigit() and word_before(match).lower() not in _BEFORE_DECADES:
        return None
    words = year(number) if len(number) == 4 else cardinal(number)
    last = words[-1]
    return [*words[:-1], last[:-1] + "ies" if last.endswith("y") else last + "s"]


def _half_of_day(match: re.Match[str]) -> list[str]:
    return [match["half"].upper(), "M"] if match["half"] else []


def _clock(match: re.Match[str]) -> list[str] | None:
    """A time of day: "5:30 p.m.", "17:05", "12:00"."""
    hour, minute, half = int(match["hour"]), int(match["minute"]), _half_of_day(match)
    if half and not 1 <= hour <= 12:
        return None
    words = cardinal(str(hour))
    if minute:
        words += (["oh"] if minute < 10 else []) + cardinal(str(minute))
    elif not half:
        words += ["o'clock"] if 1 <= hour <= 12 else ["hundred"]
    if match["second"]:
        second = int(match["second"])
        words += ["and", *cardinal(str(second)), "second" if second == 1 else "seconds"]
    return words + half


def _hour(match: re.Match[str]) -> list[str] | None:
    """A full hour: "5pm", "10 a.m."."""
    hour = int(match["hour"])
    return [*cardinal(str(hour)), *_half_of_day(match)] if 1 <= hour <= 12 else None


def _telephone(match: re.Match[str]) -> list[str] | None:
    """Digits, with a comma between the groups."""
    groups = re.findall(r"\d+", match[0])
    if match[0].startswith("+") and sum(map(len, groups)) < 8:
        return None
    words = ["plus"] if match[0].startswith("+") else []
    for group in groups:
        words += [*digits(group), ","]
    return words[:-1]


def _dotted(match: re.Match[str]) -> list[str]:
    """An address "192.168.0.1" with its digits and dots, "2.10.3" as a version."""
    groups = match[0].split(".")
    say, point = (digits, "dot") if len(groups) > 3 else (cardinal, "point")
    words: list[str] = []
    for group in groups:
        words += [*say(group), point]
    return words[:-1]


def _fraction(match: re.Match[str]) -> list[str] | None:
    """A fraction: "1/2", "2 1/2"; pairs such as "24/7" number by number."""
    top, bottom = int(match["top"]), int(match["bottom"])
    if (top, bottom) in ((24, 7), (9, 11), (50, 50)):
        return cardinal(match["top"]) + cardinal(match["bottom"])
    if not 2 <= bottom <= 100 or top >= 10 * bottom or top > 100:
        return [*cardinal(match["top"]), "over", *cardinal(match["bottom"])]
    name = {2: ["half"], 4: ["quarter"], 100: ["hundredth"]}.get(bottom) or ordinal(str(bottom))
    if top != 1:
        name = [*name[:-1], "halves" if bottom == 2 else name[-1] + "s"]
    if not match["whole"]:
        return [*_sign(match), *cardinal(match["top"]), *name]
    article = ["a"] if top == 1 else cardinal(match["top"])
    return [*_sign(match), *cardinal(match["whole"]), "and", *article, *name]


def _glyph_fraction(match: re.Match[str]) -> list[str] | None:
    """A fraction sign, "½" or "2½", read as if written with a slash."""
    parts = unicodedata.normalize("NFKC", match["glyph"]).replace("\u2044", "/")
    written = f"{match['whole'] or ''} {parts}".strip()
    found = _FRACTION.fullmatch(written)
    return [*_sign(match), *(_fraction(found) or [])] if found else None


def _quantity(match: re.Match[str]) -> list[str]:
    """A number with its unit: "2.5 kg", "100 km/h", "-3°C", "50%", "20 m²"."""
    singular, plural = UNITS[match["unit"]]
    name = (singular if _is_one(match) else plural).split()
    power = {"²": "square", "³": "cubic", "2": "square", "3": "cubic"}.get(match["power"] or "", "")
    per = ["per", *UNITS[match["per"]][0].split()] if match["per"] else []
    per += ["squared" if match["per_power"] in "²2" else "cubed"] if match["per_power"] else []
    return [*_sign(match), *_amount(match), *([power] if power else []), *name, *per]


def _groups(match: re.Match[str]) -> list[str]:
    """Joined groups, "978-3-16-148410-0": digits or small numbers, with commas between them."""
    groups = match[0].split("-")
    say = cardinal if max(map(len, groups)) <= 2 else digits
    words: list[str] = []
    for group in groups:
        words += [*say(group), ","]
    return words[:-1]


def _range(match: re.Match[str]) -> list[str]:
    """The dash between two numbers: "to", or "minus" in a sum."""
    return ["minus" if re.match(r"\s*[\d.,]+\s*=", match.string[match.end() : match.end() + 40]) else "to"]


def _is_year(match: re.Match[str]) -> bool:
    whole = match["whole"] or ""
    return len(whole) == 4 and 1100 <= int(whole) < 2100 and not match["fraction"] and not match["sign"]


def _plain(match: re.Match[str]) -> list[str]:
    """Any other number: maybe a year; digit by digit after "extension" and from seven digits on."""
    whole = match["whole"] or ""
    after_code = len(whole) > 2 and whole.isdecimal() and word_before(match).lower() in _DIGITS_AFTER
    long = whole.isdecimal() and len(whole) >= 7 and not whole.endswith("000")
    if after_code or (long and not match["fraction"]):
        return _sign(match) + digits(whole)
    if _is_year(match):
        return year(whole)
    return _sign(match) + _amount(match)


def _power(match: re.Match[str]) -> list[str] | None:
    """The exponent of "10²" or "2^8"."""
    if match[0] in _POWERS:
        return [_POWERS[match[0]]]
    written = match[0].translate(_SUPERSCRIPTS).lstrip("^")
    if not written.lstrip("-").isdecimal():
        return None
    return [
        "to",
        "the",
        "power",
        "of",
        *(["minus"] if written[0] == "-" else []),
        *cardinal(written.lstrip("-")),
    ]


def _feet_and_inches(match: re.Match[str]) -> list[str]:
    feet = [*cardinal(match["feet"]), "foot" if match["feet"] == "1" else "feet"]
    inches = (
        [*cardinal(match["inches"]), "inch" if match["inches"] == "1" else "inches"]
        if match["inches"]
        else []
    )
    return feet + inches


_FRACTION: Final = re.compile(
    rf"{_SIGN}(?<![\d/])(?:(?P<whole>\d+)[ \u00a0])?"
    r"(?P<top>\d{1,9})[/\u2044](?P<bottom>\d{1,9})(?![\d/]|\.\d)"
)
_HALF: Final = r"(?P<half>[AaPp])\.?[ \u00a0]?[Mm](?!\w)\.?"
_MAGNITUDE: Final = r"(?:\s?(?P<magnitude>thousand|million|billion|trillion|bn|tn|mn|[kKmMbBtT])(?!\w))?"
_TELEPHONE: Final = (
    r"(?<![\w.-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"
    r"|(?:\+?1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"
    r"|\d{3}-\d{2}-\d{4}|\d{3}-\d{4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4})(?![\w-]|\.\d)"
)


def number_rules(american: bool) -> tuple[Rule, ...]:
    """Rules for everything that begins with a digit, a sign or a month, the most special first."""
    return (rule(_TELEPHONE, _telephone), *_date_rules(american), *_money_rules(), *_amount_rules())


def _date_rules(american: bool) -> tuple[Rule, ...]:
    """Dates and times of day."""
    return (
        rule(
            r"(?<![\d-])(?P<year>\d{4})(?P<separator>[-/])(?P<month>\d\d)(?P=separator)(?P<day>\d\d)(?![\d-])",
            lambda match: _date(match["day"], int(match["month"]), match["year"], american),
        ),
        rule(
            r"(?<![\d/.])(?P<first>\d{1,2})(?P<separator>[/.-])(?P<second>\d{1,2})(?P=separator)"
            r"(?P<year>\d{4}|\d{2})(?![\d/-]|\.\d)",
            lambda match: _numeric_date(match, american),
        ),
        rule(
            rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}}))?(?![\w])",
            lambda match: _named_date(match, american),
        ),
        rule(
            rf"(?<!\w){_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?"
            r"(?![\w:/]|[.,-]\d| ?[AaPp]\.?[Mm]\b)",
            lambda match: _named_date(match, american),
        ),
        rule(
            r"(?<![\d:])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?![\d:])(?:\s?"
            rf"{_HALF})?",
            _clock,
        ),
        rule(rf"(?<![\d:.])(?P<hour>\d{{1,2}})\s?{_HALF}", _hour),
    )


def _amount_rules() -> tuple[Rule, ...]:
    """Numbers of every other kind, the plain number last."""
    return (
        rule(r"(?:(?<![\w.])|(?<=\b[vV]))\d{1,3}(?:\.\d{1,3}){2,}(?![\w]|\.\d)", _dotted),
        rule(
            r"(?P<number>\d+(?:,\d{3})*)(?:st|nd|rd|th)(?!\w)",
            lambda match: ordinal(match["number"].replace(",", "")),
        ),
        rule(r"(?<![\w.])['’]?(?P<decade>\d{3}0|[2-9]0)['’]?s(?!\w)", _decade),
        rule(r"(?<!\w)(?P<feet>\d{1,2})(?:'|′|’)\s?(?:(?P<inches>\d{1,2})(?:\"|″|”|''))", _feet_and_inches),
        Rule(_FRACTION, _fraction),
        rule(rf"{_SIGN}(?P<whole>\d+)?\s?(?P<glyph>[¼½¾⅐-⅞])", _glyph_fraction),
        rule(
            rf"{_SIGN}{_NUMBER}[ \u00a0\u202f-]?(?P<unit>{_UNIT})(?P<power>[²³]|(?<=[a-z])[23](?!\w))?"
            rf"(?:/(?P<per>{_UNIT})(?P<per_power>[²³23](?!\w))?)?(?!\w|[-'’]\w)",
            _quantity,
        ),
        rule(r"(?<![\w-])\d+(?:-\d+){2,}(?![\w-])", _groups),
        rule(rf"{_SIGN}{_NUMBER}", _plain),
        rule(r"[₀-₉]+", lambda match: digits(unicodedata.normalize("NFKC", match[0]))),
        rule(r"(?<=[\d%])[-–](?=[\d$£€])|(?<=[ap]m)[-–](?=\d)|(?<=\d )[–-](?= \d)", _range),
        rule(r"(?<=\d):(?=\d)", lambda match: ["to"]),
        rule(r"(?<=\w)\^-?\d+|[⁰¹²³⁴-⁹⁻]+", _power),
    )


def _money_rules() -> tuple[Rule, ...]:
    """Currency before the amount, after it, and cents alone."""
    code = rf"(?P<code>{_CODE})"
    return (
        rule(rf"{_SIGN}(?<![A-Za-z]){code}[ \u00a0]?{_NUMBER}{_MAGNITUDE}", _money),
        rule(
            rf"{_SIGN}(?P<whole>\d+),(?P<fraction>\d\d)(?P<bare>)(?P<magnitude>)[ \u00a0]?"
            r"(?P<code>€|EUR)(?!\w)",
            _money,
        ),
        rule(rf"{_SIGN}{_NUMBER}{_MAGNITUDE}[ \u00a0]?{code}(?!\w)", _money),
    )
