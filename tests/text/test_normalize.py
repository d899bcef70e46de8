import pytest

from audiogen.text.normalize import MAX_WORD, Span, normalize


def said(text, language="en-us", **options):
    """What is said for a text: words, marks, [phones] and <what is dropped>."""
    parts = []
    for span in normalize(text, language, **options):
        if span.words:
            parts.extend(span.words)
        else:
            parts.append(span.mark or (f"[{span.ipa}]" if span.ipa else f"<{text[span.start : span.end]}>"))
    return " ".join(parts)


NUMBERS = {
    "0": "zero",
    "1,234,567": "one million two hundred and thirty four thousand five hundred and sixty seven",
    "100,000": "one hundred thousand",
    "1,2,3": "one , two , three",
    "the 21st": "the twenty first",
    "1st 2nd 3rd 101st": "first second third one hundred and first",
    "2.5": "two point five",
    "0.75": "zero point seven five",
    "-.5": "minus zero point five",
    "-5 +5 −5": "minus five plus five minus five",
    "007": "zero zero seven",
    "1234567": "one two three four five six seven",
    "5000000": "five million",
    "extension 1234": "extension one two three four",
    "1999": "nineteen ninety nine",
    "1905": "nineteen oh five",
    "2010": "twenty ten",
    "1999–2005": "nineteen ninety nine to two thousand and five",
    "the 1990s": "the nineteen nineties",
    "the '80s": "the eighties",
    "in her 30s": "in her thirties",
    "wait 30s": "wait thirty seconds",
    "1/2": "one half",
    "3/4 cup": "three quarters cup",
    "2 1/2 cups": "two and a half cups",
    "2½ cups": "two and a half cups",
    "⅔": "two thirds",
    "5/16": "five sixteenths",
    "120/80": "one hundred and twenty over eighty",
    "24/7": "twenty four seven",
    "3x4": "three by four",
    "3 x 4": "three by four",
    "3 × 4": "three times four",
    "3 + 4 = 7": "three plus four equals seven",
    "5 - 3 = 2": "five minus three equals two",
    "pages 10-12": "pages ten to twelve",
    "ages 5–10": "ages five to ten",
    "10² and 2^8": "ten squared and two to the power of eight",
    "v2.10.3": "v two point ten point three",
    "192.168.0.1": "one nine two dot one six eight dot zero dot one",
    "978-3-16-148410-0": "nine seven eight , three , one six , one four eight four one zero , zero",
    "H₂O": "H two O",
    "COVID-19": "covid nineteen",
    "#5": "number five",
    "１２": "twelve",
}
MONEY = {
    "$12.50": "twelve dollars and fifty cents",
    "$1": "one dollar",
    "$1.01": "one dollar and one cent",
    "$0.99": "ninety nine cents",
    "$0": "zero dollars",
    "-$5": "minus five dollars",
    "$1,234.56": "one thousand two hundred and thirty four dollars and fifty six cents",
    "$1.2 billion": "one point two billion dollars",
    "£3m": "three million pounds",
    "£1.01": "one pound and one penny",
    "€5k": "five thousand euros",
    "12,50 €": "twelve euros and fifty cents",
    "20 USD": "twenty U S dollars",
    "GBP 20": "twenty British pounds",
    "50¢": "fifty cents",
    "$5/month": "five dollars per month",
    "$20-$30": "twenty dollars to thirty dollars",
    "¥500": "five hundred yen",
}
DATES_AND_TIMES = {
    "3/4/2025": "March fourth twenty twenty five",
    "25/12/2024": "December twenty fifth twenty twenty four",
    "13/45/2020": "thirteen slash forty five slash twenty twenty",
    "2024-01-15": "January fifteenth twenty twenty four",
    "March 4, 2025": "March fourth twenty twenty five",
    "Mar. 4": "March fourth",
    "4 March": "the fourth of March",
    "5:30 p.m.": "five thirty P M",
    "5:30pm": "five thirty P M",
    "5pm-6pm": "five P M to six P M",
    "10:05": "ten oh five",
    "12:00": "twelve o'clock",
    "17:30": "seventeen thirty",
    "12:30:15": "twelve thirty and fifteen seconds",
    "10 a.m. sharp": "ten A M sharp",
    "16:9": "sixteen to nine",
}
QUANTITIES = {
    "2.5 kg": "two point five kilograms",
    "1 kg": "one kilogram",
    "-3°C": "minus three degrees Celsius",
    "98.6 °F": "ninety eight point six degrees Fahrenheit",
    "50%": "fifty percent",
    "100 km/h": "one hundred kilometers per hour",
    "9.8 m/s²": "nine point eight meters per second squared",
    "20 m²": "twenty square meters",
    "5 ft 2 in.": "five feet two inches",
    "5' 10\"": "five feet ten inches",
    "16 kHz, 5GB": "sixteen kilohertz , five gigabytes",
    "10-12 kg": "ten to twelve kilograms",
    "10-year-old": "ten year-old",
}
TELEPHONES = {
    "555-1234": "five five five , one two three four",
    "(555) 123-4567": "five five five , one two three , four five six seven",
    "+1 555 123 4567": "plus one , five five five , one two three , four five six seven",
    "+3.14": "plus three point one four",
}
WORDS = {
    "Dr. Smith": "doctor Smith",
    "Mulholland Dr. is": "Mulholland drive is",
    "St. John St.": "saint John street",
    "2nd St. Bridge": "second street Bridge",
    "Mr. and Mrs. X": "mister and missus X",
    "e.g. this, i.e. that, etc.": "for example this , that is that , et cetera",
    "No. 5": "number five",
    "no. Never": "no . Never",
    "in the sun.": "in the sun .",
    "in Dec. we": "in December we",
    "Acme Inc. said": "Acme incorporated said",
    "NASA": "nasa",
    "FBI": "F B I",
    "IVR": "I V R",
    "HTML": "H T M L",
    "TVs and the FBI's": "T V's and the F B I's",
    "the IT dept. in the US": "the I T department in the U S",
    "This is NOT good": "This is not good",
    "PRESS ONE NOW": "press one now",
    "DON'T STOP NOW": "don't stop now",
    "AT&T, R&D": "A T and T , R and D",
    "U.S.A.": "U S A",
    "James T. Kirk": "James T Kirk",
    "A. B. Smith": "A B Smith",
    "e.g this": "for example this",
    "STOP and HELP": "stop and help",
    "IEEE, UCLA": "I E E E , U C L A",
    "Henry VIII": "Henry the eighth",
    "World War II": "World War two",
    "Chapter IV": "Chapter four",
    "A cat": "a cat",
    "press A to go": "press A to go",
    "Once Upon A Time": "Once Upon a Time",
    "A4": "A four",
    "B2B": "B two B",
    "iPhone 15": "iPhone fifteen",
    "I'm": "I'm",
    "I’m": "I'm",
    "and/or": "and slash or",
    "https://a.com/a?b=c": "H T T P S colon slash slash A dot com slash A question mark B equals C",
    "see www.example.org.": "see W W W dot example dot org .",
    "joe@example.com": "joe at example dot com",
    "café naïve": "café naïve",
    "Nguyễn": "Nguyen",
    "cafe\u0301": "café",
    "Ｈｉ": "Hi",
}
MARKS = {
    "a, b; c: d": "a , b ; c : d",
    "a (b) c": "a , b , c",
    "a—b – c -- d - e": "a — b — c — d — e",
    "a... b… c. . .": "a … b … c …",
    '“a” ‘b’ «c» "d"': "a b c d",
    "a\u00a0b\u200b": "a b",
    "well-known": "well-known",
    "[[həˈloʊ]] you": "[həˈloʊ] you",
    "¿qué?": "qué ?",
}
DROPPED = {
    "hi ☺": "hi <☺>",
    "hi 你好": "hi <你好>",
    "Мир": "<Мир>",
    "**b**": "<*> <*> b <*> <*>",
    "👍🏽": "<👍> <🏽>",
    "a\x00b": "a <\x00> b",
}


ENGLISH = (NUMBERS, MONEY, DATES_AND_TIMES, QUANTITIES, TELEPHONES, WORDS, MARKS, DROPPED)


@pytest.mark.parametrize(("text", "expected"), [case for table in ENGLISH for case in table.items()])
def test_english(text, expected):
    assert said(text) == expected


def test_british_dates_begin_with_the_day():
    assert said("3/4/2025", "en-gb") == "the third of April twenty twenty five"


OTHERS = {
    "de": {
        "12,50 €": "zwölf Euro fünfzig",
        "um 5:30 Uhr": "um fünf Uhr dreißig",
        "am 3. Mai": "am dritten Mai",
        "z.B. 3,5 kg": "zum Beispiel drei Komma fünf Kilogramm",
        "1999": "neunzehnhundertneunundneunzig",
        "-3°C": "minus drei Grad Celsius",
        "50%": "fünfzig Prozent",
        "info@beispiel.de": "info at beispiel Punkt D E",
    },
    "fr-fr": {
        "12,50 €": "douze euros cinquante",
        "17h30": "dix-sept heures trente",
        "le 1er mars": "le premier mars",
        "M. Dupont": "monsieur Dupont",
        "01/03/2025": "premier mars deux mille vingt-cinq",
        "1 234 567": "un million deux cent trente-quatre mille cinq cent soixante-sept",
    },
    "es": {
        "12,50 €": "doce euros con cincuenta",
        "a las 5:30": "a las cinco y treinta",
        "3/4/2025": "tres de abril de dos mil veinticinco",
        "50%": "cincuenta por ciento",
        "Sr. X": "señor X",
    },
    "es-419": {"$12.50": "doce dólares con cincuenta"},
    "it": {
        "12,50 €": "dodici euro e cinquanta",
        "21º": "ventunesimo",
        "01/03/2025": "primo marzo duemilaventicinque",
    },
    "nl": {"25 appels": "vijfentwintig appels"},
    "hi": {"10": "10"},
    "ru": {"мир 50%": "мир пятьдесят %"},
    "cmn": {"你好 hello": "你好 hello"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [(language, text, expected) for language, table in OTHERS.items() for text, expected in table.items()],
)
def test_other_languages(language, text, expected):
    assert said(text, language) == expected


def test_spans_point_at_the_source():
    assert normalize("Pay $2 at 5:05!") == [
        Span(0, 3, ("Pay",)),
        Span(4, 6, ("two", "dollars")),
        Span(7, 9, ("at",)),
        Span(10, 14, ("five", "oh", "five")),
        Span(14, 15, mark="!"),
    ]


SILENT = set("\"'“”‘’«»-¿\u200b\u00ad")


@pytest.mark.parametrize("text", [text for table in ENGLISH for text in table])
def test_every_character_is_in_a_span_or_silent(text):
    covered = {index for span in normalize(text) for index in range(span.start, span.end)}
    assert all(i in covered or char.isspace() or char in SILENT for i, char in enumerate(text))


def test_kept_words_are_left_as_they_are():
    keep = {"SQL", "C++", "$5"}.__contains__
    assert said("SQL in C++, for $5.", keep=keep) == "SQL in C++ , for $5 ."
    assert said("NoSQL", keep=keep) == "NoSQL"


def test_without_rules_numbers_stay_as_written():
    assert said("I paid $12.50, OK?", rules=False) == "I paid $ 12.50 , OK ?"


def test_a_long_word_is_cut():
    spans = normalize("a" * 1000)
    assert max(len(word) for span in spans for word in span.words) == MAX_WORD
    assert "".join(word for span in spans for word in span.words) == "a" * 1000
    assert max(len(word) for span in normalize("A" * 1000) for word in span.words) == MAX_WORD
