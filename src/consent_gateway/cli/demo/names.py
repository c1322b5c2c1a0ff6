"""Names in several scripts, and phone numbers that regulators set aside for fiction.

Phones: Germany 030 23125xxx and 069 90009xxx (Bundesnetzagentur), France 01 99 00 xx xx (Arcep), United Kingdom
020 7946 0xxx and 0113 496 0xxx (Ofcom), United States 555-01xx of every area code (ATIS). China sets none aside; the
199 0000 block stands in and is never called. E-mail addresses are on example.com, .net and .org (RFC 2606).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pool:
    """Given and family names that go together, and the language of those who bear them."""

    language: str
    given: tuple[str, ...]
    family: tuple[str, ...]


def _pool(language: str, given: str, family: str) -> Pool:
    return Pool(language, tuple(given.split()), tuple(family.split("|")))


GERMAN = _pool(
    "de",
    "Jürgen Käthe Björn Sören Anja Lukas Zoë Günter Ömer Mia Jörg Frauke",
    "Müller|Weiß|Schäfer|Groß|von der Heide|Köhler|Jäger|Öztürk|Löwe|Strauß|Schmidt-Rößler|Böhm",
)
FRENCH = _pool(
    "fr",
    "Zoé François Hélène Jérôme Anaïs Loïc Maëlle Benoît Françoise Noël",
    "Lefèvre|d'Aubigné|Béranger|Hérault|Le Gall|Crépin|Gauthier|Rivière|L’Hôte|Çelik",
)
ENGLISH = _pool(
    "en",
    "Olivia Siân Callum Niamh Ruairí Grace Owain Priya Zadie Thomas",
    "O'Neill|Llewellyn|MacDonald|Fitz-Gerald|Patel|Smith|Ó Briain|Featherstonehaugh|Okafor|Brown",
)
AMERICAN = _pool(
    "en", "José María Emma Liam Nguyễn Aaliyah Noah Sofía Keanu Ava", "García|Johnson|Núñez|Trần|Kealoha|Lee|Davis"
)
CHINESE = _pool("zh", "伟 芳 娜 秀英 敏 静 强 磊 洋 欣怡 子涵 浩然", "王|李|张|刘|陈|杨|欧阳|司马|黄|赵")
RUSSIAN = _pool("ru", "Анна Сергей Ольга Дмитрий Юлия Фёдор", "Иванова|Кузнецов|Ёлкина|Щербаков|Соловьёва")
GREEK = _pool("el", "Ελένη Γιώργος Μαρία Νίκος Ζωή", "Παπαδόπουλος|Οικονόμου|Ξένος|Χατζή")
ARABIC = _pool("ar", "فاطمة محمد ليلى يوسف نور", "الحسن|العلي|منصور|بن سالم")
JAPANESE = _pool("ja", "さくら 健太 美咲 翔", "佐藤|鈴木|高橋|渡邉")

NAMES: dict[str, tuple[Pool, ...]] = {
    "DE": (GERMAN, GERMAN, GERMAN, RUSSIAN, GREEK),
    "FR": (FRENCH, FRENCH, FRENCH, ARABIC),
    "GB": (ENGLISH, ENGLISH, ENGLISH, ARABIC, GREEK),
    "US-CA": (AMERICAN, AMERICAN, ENGLISH, JAPANESE, CHINESE),
    "US-FL": (AMERICAN, AMERICAN, ENGLISH),
    "CN": (CHINESE,),
    "": (RUSSIAN, GREEK, ARABIC, JAPANESE, FRENCH),
}

_CALIFORNIA = "209 213 310 323 408 415 510 530 559 562 619 626 650 661 707 714 760 805 818 831 858 909 916 925"
_FLORIDA = "305 321 352 386 407 561 727 772 786 813 850 863 904 941 954"


_BLOCKS: dict[str, tuple[tuple[str, ...], int]] = {  # prefixes in E.164, and how many digits are free
    "DE": (("+493023125", "+496990009"), 3),
    "FR": (("+3319900",), 4),
    "GB": (("+442079460", "+441134960", "+441214960", "+441314960", "+441614960"), 3),
    "CN": (("+861990000",), 4),
    "US-CA": (tuple(f"+1{area}55501" for area in _CALIFORNIA.split()), 2),
    "US-FL": (tuple(f"+1{area}55501" for area in _FLORIDA.split()), 2),
}


def fictional_phone(country: str, n: int) -> str | None:
    """Return the `n`th fictional number of `country` in E.164; None where no block is known (unknown residency)."""
    if country not in _BLOCKS:
        return None
    prefixes, digits = _BLOCKS[country]
    block, rest = divmod(n, 10**digits)
    return f"{prefixes[block % len(prefixes)]}{rest:0{digits}d}"


def national(phone: str, country: str) -> str:
    """Return an E.164 `phone` the way people of `country` write it; the number stays the same."""
    match country:
        case "DE":
            return f"0{phone[3:5]} / {phone[5:8]} {phone[8:]}"
        case "FR":
            digits = "0" + phone[3:]
            return " ".join(digits[i : i + 2] for i in range(0, len(digits), 2))
        case "GB":
            return f"0{phone[3:6]} {phone[6:9]} {phone[9:]}"
        case "US-CA" | "US-FL":
            return f"({phone[2:5]}) {phone[5:8]}-{phone[8:]}"
    return f"{phone[3:6]} {phone[6:10]} {phone[10:]}"


_WIDE = str.maketrans("0123456789+", "０１２３４５６７８９＋")


def full_width(text: str) -> str:
    """Return `text` with the full-width digits of an East Asian keyboard (NFKC undoes it)."""
    return text.translate(_WIDE)
