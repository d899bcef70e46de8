"""Numbers, money, dates, times and signs in languages other than English."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from audiogen.text.addresses import address_rules
from audiogen.text.languages import LOCALES, Locale
from audiogen.text.numbers import cardinal, decimal, num2words_code, ordinal, year
from audiogen.text.rules import Rule, rule, word_before

# What espeak-ng names by itself in most languages.
_RAW_SIGNS: Final = rule(r"[%&@+=°#$€£¥§©®<>/*_~^|\\]", lambda match: [match[0]])
RAW_RULES: Final = (rule(r"\d+(?:[.,:/]\d+)*", lambda match: [match[0]]), _RAW_SIGNS)


def locale_rules(language: str) -> tuple[Rule, ...]:
    """The rules of a language other than English: all for `LOCALES`, else whole numbers by num2words.

    What no rule reads is left to espeak-ng.
    """
    base = language.split("-")[0]
    if base in LOCALES:
        # Spanish is written with a decimal point in the Americas.
        american = language == "es-419"
        locale = replace(LOCALES[base], point="punto") if american else LOCALES[base]
        return _Speaker(locale, language, decimal_sign="." if american else ",").rules()
    if num2words_code(language) is None:
        return RAW_RULES
    return (rule(r"(?<![\w.,])\d+(?![\w]|[.,:/]\d)", lambda match: cardinal(match[0], language)), *RAW_RULES)


@dataclass(frozen=True)
class _Speaker:
    """The rules of one locale; decimal_sign is "," or "."."""

    locale: Locale
    language: str
    decimal_sign: str

    def rules(self) -> tuple[Rule, ...]:
        """The most special first."""
        sign, group = re.escape(self.decimal_sign), "." if self.decimal_sign == "," else ","
        whole = rf"\d{{1,3}}(?:[{group}\u00a0\u202f' ]\d{{3}})+(?!\d)|\d+"
        number = rf"(?P<sign>(?<![\w.)])[-−])?(?P<whole>{whole})(?:{sign}(?P<fraction>\d+))?"
        code = _either(self.locale.currencies)
        units = self.locale.units
        months = _either(self.locale.months)
        return (
            *address_rules(self.locale.address, self.language),
            rule(
                rf"(?<!\w)(?:{_either(self.locale.short)})(?:(?<=\.)|(?!\w))",
                lambda m: self.locale.short[m[0]].split(),
            ),
            rule(
                r"(?<![\d.])(?P<day>\d{1,2})(?P<mark>[./-])(?P<month>\d{1,2})(?P=mark)(?P<year>\d{4})(?!\d)",
                self._date,
            ),
            rule(rf"(?P<day>\d{{1,2}})\.(?=\s+(?:{months}))", self._day),
            rule(
                r"(?<![\d:])(?P<hour>[01]?\d|2[0-4])(?::|\s?h\s?)(?P<minute>[0-5]\d)(?:\s?(?:Uhr|h)\b)?(?![\d:])",
                self._clock,
            ),
            rule(rf"(?P<code>{code})[ \u00a0]?{number}", self._money),
            rule(rf"{number}[ \u00a0\u202f]?(?P<code>{code})(?!\w)", self._money),
            rule(
                rf"{number}[ \u00a0\u202f]?(?P<unit>{_either(units)})(?!\w)",
                lambda m: self._number(m) + units[m["unit"]].split(),
            ),
            rule(r"(?P<whole>\d+)(?:er|re|e|ème|ième|nde?|\.?[ºª])(?!\w)", self._ordinal),
            rule(number, self._number),
            rule(f"[{re.escape(''.join(self.locale.signs))}]", lambda m: self.locale.signs[m[0]].split()),
            _RAW_SIGNS,
        )

    def _number(self, match: re.Match[str]) -> list[str]:
        whole = re.sub(r"\D", "", match["whole"])
        minus = [self.locale.minus] if match["sign"] else []
        if len(match["whole"]) == 4 and 1100 <= int(whole) < 2000 and not match["fraction"]:
            return minus + year(whole, self.language)
        return minus + decimal(whole, match["fraction"] or "", self.locale.point, self.language)

    def _money(self, match: re.Match[str]) -> list[str]:
        whole, fraction = re.sub(r"\D", "", match["whole"]), match["fraction"] or ""
        singular, plural = self.locale.currencies[match["code"]]
        if len(fraction) not in (0, 2):
            return [*self._number(match), plural]
        number = [self.locale.one] if whole == "1" and self.locale.one else cardinal(whole, self.language)
        words = [self.locale.minus] * bool(match["sign"]) + [*number, singular if whole == "1" else plural]
        if fraction.strip("0"):
            words += [*self.locale.hundredths.split(), *cardinal(str(int(fraction)), self.language)]
        return words

    def _date(self, match: re.Match[str]) -> list[str] | None:
        day, month = int(match["day"]), int(match["month"])
        if not (1 <= day <= 31 and 1 <= month <= 12):
            return None
        of = self.locale.of.split()
        return [
            *self._day(match),
            *of,
            self.locale.months[month - 1],
            *of,
            *year(match["year"], self.language),
        ]

    def _day(self, match: re.Match[str]) -> list[str]:
        """The day of a date; German has an ordinal, in the dative after "am"."""
        day = int(match["day"])
        if self.language.startswith("de"):
            dative = word_before(match).lower() in ("am", "vom", "zum", "dem", "den", "beim", "ab", "seit")
            return [
                *ordinal(str(day), self.language)[:-1],
                ordinal(str(day), self.language)[-1] + ("n" if dative else "r"),
            ]
        return (
            [self.locale.first_day]
            if day == 1 and self.locale.first_day
            else cardinal(str(day), self.language)
        )

    def _clock(self, match: re.Match[str]) -> list[str]:
        hour, minute = int(match["hour"]), int(match["minute"])
        said = self.locale.hour.format(h=" ".join(cardinal(str(hour), self.language)))
        words = (self.locale.one_hour if hour == 1 else said).split()
        if not minute:
            return words + self.locale.sharp.split()
        return [*words, *self.locale.minutes.split(), *cardinal(str(minute), self.language)]

    def _ordinal(self, match: re.Match[str]) -> list[str]:
        if self.locale.first_day == "premier" and match["whole"] == "1":
            return ["premier" if match[0].endswith("er") else "première"]
        return ordinal(match["whole"], self.language)


def _either(options: Iterable[str]) -> str:
    """A pattern for any of the options, the longest first."""
    return "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
