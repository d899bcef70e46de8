"""What the languages other than English that have rules call their numbers, money, dates, times and signs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Locale:
    """What a language calls its decimal sign, the parts of dates and times, its currencies and signs.

    hour: the full hour, with `{h}` for its number; one_hour: the same for one; minutes: the word before the
    minutes; sharp: the word after a full hour. months: January first; of: the word between the parts of a
    date; first_day: the first of a month. currencies: symbol -> (singular, plural); hundredths: the word
    before cents. signs: one character -> words; address: the same in addresses. short: abbreviation -> words.
    one: "one" before a currency.
    """

    point: str
    minus: str
    hour: str
    one_hour: str
    months: tuple[str, ...]
    currencies: Mapping[str, tuple[str, str]]
    signs: Mapping[str, str]
    address: Mapping[str, str]
    short: Mapping[str, str]
    units: Mapping[str, str]
    minutes: str = ""
    sharp: str = ""
    of: str = ""
    hundredths: str = ""
    first_day: str = ""
    one: str = ""


LOCALES: Final = {
    "de": Locale(
        point="Komma", minus="minus", hour="{h} Uhr", one_hour="ein Uhr", one="ein",
        months=(
            "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
            "November", "Dezember",
        ),
        currencies={
            "€": ("Euro", "Euro"), "$": ("Dollar", "Dollar"), "£": ("Pfund", "Pfund"),
            "CHF": ("Franken", "Franken"),
        },
        signs={
            "%": "Prozent", "&": "und", "+": "plus", "=": "gleich", "°": "Grad", "@": "at", "§": "Paragraph",
            "/": "Schrägstrich", "#": "Raute", "×": "mal", "<": "kleiner als", ">": "größer als",
            "_": "Unterstrich",
        },
        address={
            ".": "Punkt", "/": "Schrägstrich", ":": "Doppelpunkt", "-": "Bindestrich", "_": "Unterstrich",
            "@": "at", "?": "Fragezeichen", "=": "gleich", "&": "und", "#": "Raute", "%": "Prozent",
            "+": "plus", "~": "Tilde",
        },
        short={
            "z.B.": "zum Beispiel", "z. B.": "zum Beispiel", "d.h.": "das heißt", "d. h.": "das heißt",
            "usw.": "und so weiter", "bzw.": "beziehungsweise", "Nr.": "Nummer", "Dr.": "Doktor",
            "Hr.": "Herr", "Fr.": "Frau", "Prof.": "Professor", "Str.": "Straße", "ca.": "circa",
            "u.a.": "unter anderem", "evtl.": "eventuell", "inkl.": "inklusive", "Tel.": "Telefon",
            "St.": "Sankt", "Mio.": "Millionen",
        },
        units={
            "km/h": "Kilometer pro Stunde", "km": "Kilometer", "kg": "Kilogramm", "m": "Meter",
            "cm": "Zentimeter", "mm": "Millimeter", "g": "Gramm", "l": "Liter", "°C": "Grad Celsius",
            "h": "Stunden", "min": "Minuten",
        },
    ),
    "fr": Locale(
        point="virgule", minus="moins", hour="{h} heures", one_hour="une heure", first_day="premier",
        months=(
            "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
            "novembre", "décembre",
        ),
        currencies={
            "€": ("euro", "euros"), "$": ("dollar", "dollars"), "£": ("livre", "livres"),
            "CHF": ("franc", "francs"),
        },
        signs={
            "%": "pour cent", "&": "et", "+": "plus", "=": "égale", "°": "degrés", "@": "arobase",
            "/": "barre oblique", "#": "dièse", "×": "fois", "<": "inférieur à", ">": "supérieur à",
            "§": "paragraphe", "_": "tiret bas",
        },
        address={
            ".": "point", "/": "barre oblique", ":": "deux points", "-": "tiret", "_": "tiret bas",
            "@": "arobase", "?": "point d'interrogation", "=": "égale", "&": "et", "#": "dièse",
            "%": "pour cent", "+": "plus", "~": "tilde",
        },
        short={
            "M.": "monsieur", "MM.": "messieurs", "Mme": "madame", "Mmes": "mesdames", "Mlle": "mademoiselle",
            "Dr": "docteur", "etc.": "et cetera", "p.ex.": "par exemple", "c.-à-d.": "c'est-à-dire",
            "n°": "numéro", "N°": "numéro", "St": "saint", "Ste": "sainte", "av.": "avenue",
            "bd": "boulevard", "env.": "environ",
        },
        units={
            "km/h": "kilomètres par heure", "km": "kilomètres", "kg": "kilogrammes", "m": "mètres",
            "cm": "centimètres", "mm": "millimètres", "g": "grammes", "l": "litres", "°C": "degrés Celsius",
            "min": "minutes",
        },
    ),
    "es": Locale(
        point="coma", minus="menos", hour="{h}", one_hour="una", minutes="y", sharp="en punto", of="de",
        hundredths="con", one="un",
        months=(
            "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
            "noviembre", "diciembre",
        ),
        currencies={
            "€": ("euro", "euros"), "$": ("dólar", "dólares"), "£": ("libra", "libras"),
        },
        signs={
            "%": "por ciento", "&": "y", "+": "más", "=": "igual a", "°": "grados", "@": "arroba",
            "/": "barra", "#": "almohadilla", "×": "por", "<": "menor que", ">": "mayor que", "§": "párrafo",
            "_": "guion bajo",
        },
        address={
            ".": "punto", "/": "barra", ":": "dos puntos", "-": "guion", "_": "guion bajo", "@": "arroba",
            "?": "signo de interrogación", "=": "igual", "&": "y", "#": "almohadilla", "%": "por ciento",
            "+": "más", "~": "tilde",
        },
        short={
            "Sr.": "señor", "Sra.": "señora", "Srta.": "señorita", "Dr.": "doctor", "Dra.": "doctora",
            "Ud.": "usted", "Uds.": "ustedes", "etc.": "etcétera", "p. ej.": "por ejemplo",
            "EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos", "núm.": "número", "n.º": "número",
            "Av.": "avenida", "tel.": "teléfono",
        },
        units={
            "km/h": "kilómetros por hora", "km": "kilómetros", "kg": "kilogramos", "m": "metros",
            "cm": "centímetros", "mm": "milímetros", "g": "gramos", "l": "litros", "°C": "grados Celsius",
            "h": "horas", "min": "minutos",
        },
    ),
    "it": Locale(
        point="virgola", minus="meno", hour="{h}", one_hour="una", minutes="e", sharp="in punto",
        hundredths="e", first_day="primo", one="un",
        months=(
            "gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre",
            "ottobre", "novembre", "dicembre",
        ),
        currencies={
            "€": ("euro", "euro"), "$": ("dollaro", "dollari"), "£": ("sterlina", "sterline"),
        },
        signs={
            "%": "per cento", "&": "e", "+": "più", "=": "uguale", "°": "gradi", "@": "chiocciola",
            "/": "barra", "#": "cancelletto", "×": "per", "<": "minore di", ">": "maggiore di",
            "§": "paragrafo", "_": "trattino basso",
        },
        address={
            ".": "punto", "/": "barra", ":": "due punti", "-": "trattino", "_": "trattino basso",
            "@": "chiocciola", "?": "punto interrogativo", "=": "uguale", "&": "e", "#": "cancelletto",
            "%": "per cento", "+": "più", "~": "tilde",
        },
        short={
            "Sig.": "signor", "Sig.ra": "signora", "Sig.na": "signorina", "Dott.": "dottor", "Dr.": "dottor",
            "Prof.": "professor", "ecc.": "eccetera", "tel.": "telefono",
        },
        units={
            "km/h": "chilometri all'ora", "km": "chilometri", "kg": "chilogrammi", "m": "metri",
            "cm": "centimetri", "mm": "millimetri", "g": "grammi", "l": "litri", "°C": "gradi Celsius",
            "h": "ore", "min": "minuti",
        },
    ),
}  # fmt: skip
