"""What English says for abbreviations, acronyms, Roman numerals and signs."""

from __future__ import annotations

import re
from typing import Final

from audiogen.text.numbers import cardinal, ordinal
from audiogen.text.rules import Rule, rule, vocabulary, word_after, word_before

# Said whether or not a full stop follows.
_ABBREVIATIONS: Final = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Prof": "professor", "Messrs": "messieurs", "vs": "versus",
    "etc": "et cetera", "Jr": "junior", "Sr": "senior", "Blvd": "boulevard", "approx": "approximately",
    "w/o": "without", "w/": "with", "Pvt": "private", "Sgt": "sergeant", "PhD": "P H D",
    "PhDs": "P H D's", "e.g": "for example", "i.e": "that is",
}  # fmt: skip
# Said only with a full stop.
_DOTTED: Final = {
    "rev": "reverend", "hon": "honorable", "gen": "general", "lt": "lieutenant", "capt": "captain",
    "col": "colonel", "maj": "major", "cmdr": "commander", "adm": "admiral", "gov": "governor",
    "sen": "senator", "rep": "representative", "pres": "president", "dept": "department",
    "est": "established", "inc": "incorporated", "ltd": "limited", "co": "company", "corp": "corporation",
    "bros": "brothers", "assn": "association", "ave": "avenue", "ln": "lane", "rd": "road", "hwy": "highway",
    "mt": "mount", "ft": "fort", "fig": "figure", "figs": "figures", "tel": "telephone", "ext": "extension",
    "temp": "temperature", "max": "maximum", "min": "minimum", "avg": "average", "misc": "miscellaneous",
    "cf": "compare", "jan": "January", "feb": "February", "mar": "March", "apr": "April", "jun": "June",
    "jul": "July", "aug": "August", "sep": "September", "sept": "September", "oct": "October",
    "nov": "November", "dec": "December", "mon": "Monday", "tue": "Tuesday", "tues": "Tuesday",
    "wed": "Wednesday", "thu": "Thursday", "thur": "Thursday", "thurs": "Thursday", "fri": "Friday",
    "sat": "Saturday", "sun": "Sunday", "viz": "namely", "univ": "university", "ph.d": "P H D",
    "e.g": "for example", "i.e": "that is", "a.k.a": "also known as", "et al": "et al",
}  # fmt: skip
# Ordinary words as well: with a full stop, and only where a sentence goes on or a name stands before.
_ALSO_WORDS: Final = vocabulary(
    "rev gen col co mar jun mon wed sat sun min max temp rep pres dec est fig inc"
)
_BEFORE_NUMBER: Final = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "ch": "chapter", "vol": "volume",
    "sec": "section", "art": "article", "op": "opus",
}  # fmt: skip

_PRONOUNCED: Final = vocabulary(
    "NASA NATO AIDS UNESCO UNICEF OPEC NAFTA SCUBA LASER RADAR SONAR PIN SIM RAM ROM SWAT FEMA NASDAQ GIF "
    "JPEG COVID SARS DOS BIOS LAN WAN YOLO FIFA UEFA ASAP ASCII CAD OSHA GAAP HUD POTUS SAT ZIP WASP JIT "
    "GUI NIMBY FAQ VAT SIP IKEA LEGO VISA EPCOT HIPAA MIDI CAPTCHA DAHDI"
)
_SPELLED: Final = vocabulary(
    "US IT UN EU UK AI PC TV CD OK ID IP OS UI UX PA PR HR ER IQ EQ AC DC AM PM USA URL API IEEE "
    "AARP NCAA NAACP OECD UCLA ACLU USDA"
)
# Words of up to three letters that are written in capitals for emphasis; longer ones are told by their shape.
_EMPHASISED: Final = vocabulary(
    "A I AN AS AT BE BY DO GO HE IF IN IS ME MY NO OF ON OR SO TO UP WE ADD ALL AND ANY ARE ASK BAD BAG "
    "BED BIG BOX BOY BUS BUT BUY CAN CAR CAT CUT DAD DAY DID DOG DRY EAT END EYE FAR FEW FIX FLY FOR FUN "
    "GET GOD GOT GUN HAD HAS HER HIM HIS HIT HOT HOW ITS JOB KEY LAW LAY LET LIE LOT LOW MAN MAY MEN MET "
    "MOM NEW NOR NOT NOW ODD OFF OIL OLD ONE OUR OUT OWN PAY PUT RAN RED RUN SAD SAW SAY SEA SEE SET SHE "
    "SIT SIX SKY SON SUN TAX TEN THE TOO TOP TRY TWO USE WAR WAS WAY WHO WHY WIN WON YES YET YOU OH UH AH "
    "HA HI"
)
_ONSETS: Final = vocabulary(
    "bl br ch cl cr dr dw fl fr gh gl gr kn ph pl pr qu rh sc sch scr sh shr sk sl sm sn sp spl spr squ st "
    "str sw th thr tr tw wh wr"
)
_ONSET: Final = "|".join(sorted(_ONSETS, key=lambda onset: (-len(onset), onset)))
_PRONOUNCEABLE: Final = re.compile(
    rf"(?:{_ONSET}|[b-df-hj-np-tv-z])?"
    r"(?:[aeiouy]{1,2}(?:[b-df-hj-np-tv-z]{1,2}|ght|tch|rst|nst|nds|lth|ngs)?)+e?"
)

_MONARCHS: Final = vocabulary(
    "Henry Louis Elizabeth George Charles Edward William James Richard Philip Paul Benedict Pius Napoleon "
    "Catherine Ivan Peter Nicholas Frederick Wilhelm Mary Alexander Leo Francis Gregory Clement Innocent "
    "Urban Ferdinand Alfonso Carlos Ramses Ptolemy John Robert Felipe Victor Umberto Gustav Christian "
    "Harald Haakon Olav"
)
_COUNTED: Final = vocabulary(
    "war part volume chapter act scene phase type class level book section article title stage grade "
    "episode season mark bowl olympiad psalm appendix figure table"
)
_ROMAN: Final = re.compile(r"X{0,3}(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS: Final = {"I": 1, "V": 5, "X": 10}

_SIGNS: Final = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "±": "plus or minus",
    "<": "less than", ">": "greater than", "≤": "less than or equal to", "≥": "greater than or equal to",
    "≠": "is not equal to", "≈": "is about", "~": "about", "%": "percent", "°": "degrees", "$": "dollars",
    "£": "pounds", "€": "euros", "¥": "yen", "¢": "cents", "§": "section", "©": "copyright",
    "®": "registered", "™": "trademark", "→": "to", "√": "square root of", "∞": "infinity", "π": "pi",
    "−": "minus", "/": "slash", "\\": "backslash", "_": "underscore", "#": "hash", "№": "number",
    "♯": "sharp", "♭": "flat", "µ": "micro", "¶": "paragraph",
}  # fmt: skip


def _doctor(match: re.Match[str]) -> list[str]:
    """What "Dr." is: a doctor before a name, a drive after one."""
    after_name = word_before(match)[:1].isupper() and not word_after(match)[:1].isupper()
    return ["drive" if after_name else "doctor"]


def _saint(match: re.Match[str]) -> list[str]:
    """What "St." is: a saint before a name, a street after one and after an ordinal."""
    if re.search(r"\d(?:st|nd|rd|th)\s+$", match.string[max(0, match.start() - 12) : match.start()]):
        return ["street"]
    return ["saint" if word_after(match)[:1].isupper() and _goes_on(match) else "street"]


def _goes_on(match: re.Match[str]) -> bool:
    """Whether a word follows a match without a mark between them."""
    return re.match(r"\s*[^\W\d_]", match.string[match.end() : match.end() + 8]) is not None


def _dotted_word(match: re.Match[str]) -> list[str] | None:
    """Abbreviations such as "Gen." and "Dec.", but not the last word of "in the sun"."""
    key = match["short"].lower()
    rest = match.string[match.end() :]
    looks_plain = not rest.strip("\"'”’)] \n") or (
        match["short"].islower() and not rest.lstrip()[:1].isdigit()
    )
    firm = key in ("co", "inc") and word_before(match)[:1].isupper()
    if key in _ALSO_WORDS and looks_plain and not firm:
        return None
    return _DOTTED[key].split()


def _before_number(match: re.Match[str]) -> list[str]:
    return [_BEFORE_NUMBER[match["short"].lower()]]


def _letters(match: re.Match[str]) -> list[str]:
    """Letters with full stops, such as "U.S.A.", one by one."""
    return [char.upper() for char in match[0] if char.isalpha()]


def _capitals(match: re.Match[str]) -> list[str] | None:
    """A word in capitals: spelled, or said as a word; with its "s" or "'s"."""
    word, ending = match["word"], match["ending"] or ""
    if roman := _roman(match):
        return roman
    if ending[1:].isupper() or not is_spelled(word, match.string):
        return [(word + ending).lower().replace("’", "'")] if word in _PRONOUNCED or len(word) > 1 else None
    letters = list(word)
    return [*letters[:-1], letters[-1] + "'s"] if ending else letters


def is_spelled(word: str, text: str) -> bool:
    """Whether a word in capitals is read letter by letter.

    In a text all in capitals that is so only for what cannot be a word.
    """
    if word in _PRONOUNCED or len(word) < 2:
        return False
    if not re.search(r"[AEIOUY]", word):
        return len(word) <= 6
    shouted = len(re.findall(r"[^\W\d_a-z]{2,}", text[:2000])) > 2 and not re.search(r"[a-z]", text[:2000])
    if word in _EMPHASISED or shouted:
        return False
    return (
        word in _SPELLED
        or len(word) <= 3
        or (len(word) <= 5 and _PRONOUNCEABLE.fullmatch(word.lower()) is None)
    )


def _roman(match: re.Match[str]) -> list[str] | None:
    """Roman numerals: "Henry VIII" -> the eighth, "World War II" -> two, "XIV" -> fourteen."""
    word, before = match["word"], word_before(match)
    if match["ending"] or _ROMAN.fullmatch(word) is None:
        return None
    values = [_ROMAN_DIGITS[char] for char in word]
    number = sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
    if before in _MONARCHS and (len(word) > 1 or word in "VX"):
        return ["the", *ordinal(str(number))]
    if (
        before.lower() in _COUNTED
        or len(word) > 2
        or (len(word) == 2 and before[:1].isupper() and word != "XX")
    ):
        return cardinal(str(number))
    return None


def _letter_a(match: re.Match[str]) -> list[str]:
    """What "A" is: an article at the start of a sentence or within a title, else the name of the letter."""
    rest = match.string[match.end() : match.end() + 40]
    following = re.match(r"\s+([^\W\d_][\w'’-]+)", rest)
    article = following is not None and (not word_before(match) or following[1][0].isupper())
    return ["a" if article else "A"]


def _sign(match: re.Match[str]) -> list[str]:
    return _SIGNS[match[0]].split()


def _hash(match: re.Match[str]) -> list[str]:
    """What "#" is: a number in "#5", a tag in "#word"."""
    following = match.string[match.end() : match.end() + 1]
    return ["number"] if following.isdigit() else ["hashtag"] if following.isalpha() else ["hash"]


def word_rules() -> tuple[Rule, ...]:
    """Rules for everything that begins with a letter or a sign."""
    short = "|".join(re.escape(key) for key in sorted(_ABBREVIATIONS, key=len, reverse=True))
    dotted = "|".join(re.escape(key) for key in sorted(_DOTTED, key=len, reverse=True))
    numbered = "|".join(_BEFORE_NUMBER)
    per = r"(?:day|week|month|mo|year|yr|hour|hr|minute|min|second|sec|night|person|each|kg|lb)\b"
    return (
        rule(r"(?<!\w)Dr(?:\.|(?= [A-Z]))(?!\w)", _doctor),
        rule(r"(?<!\w)St(?:\.|(?= [A-Z]))(?!\w)", _saint),
        rule(
            rf"(?<!\w)(?P<short>{short})(?:\.|(?!\w))", lambda match: _ABBREVIATIONS[match["short"]].split()
        ),
        rule(rf"(?<![\w.])(?P<short>{dotted})\.(?!\w)", _dotted_word, re.IGNORECASE),
        rule(rf"(?<!\w)(?P<short>{numbered})\.\s*(?=#?\d)", _before_number, re.IGNORECASE),
        rule(r"(?<!\w)(?:[A-Za-z]\.){2,}(?:[A-Za-z](?![\w.]))?", _letters),
        rule(r"(?<!\w)(?P<letter>[A-HJ-Z])\.(?=\s+[A-Z])", lambda match: [match["letter"]]),
        rule(r"(?<![\w'’-])A(?![\w'’.-])", _letter_a),
        rule(
            r"[A-Z](?=&[A-Z])|(?<=[A-Z]&)[A-Z]+(?!\w)|A(?=\d)|[A-Z]{2}(?=&[A-Z])",
            lambda match: list(match[0]),
        ),
        rule(
            r"(?<![a-z])(?P<word>[A-Z]{2,}|(?<!\w)[VX](?!\w))(?P<ending>['’]?s|['’][A-Z]{1,2})?(?![^\W\d_]|['’]\w)",
            _capitals,
        ),
        rule(rf"/(?={per})", lambda match: ["per"]),
        rule(r"[xX](?=\s?\d)(?<=\d.)|[xX](?=\s?\d)(?<=\d\s.)", lambda match: ["by"]),
        rule(r"(?<=\d)\*(?=\d)|(?<=\d )\*(?= \d)", lambda match: ["times"]),
        rule(r"(?<=[A-Za-z])\.(?=\d)", lambda match: ["dot"]),
        rule("#", _hash),
        rule(r"(?<!\w)['’]n['’](?!\w)", lambda match: ["and"]),
        rule("[" + re.escape("".join(_SIGNS)) + "]", _sign),
    )
