"""What can be said about a document by looking at its bytes. Pure functions, no I/O."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from pathlib import PurePath

MAX_BYTES = 1_000_000
MAX_UNPACKED_BYTES = 4_000_000
MAGIC = {b"\x1f\x8b": "gzip", b"%PDF-": "pdf", b"\x89PNG": "png", b"PK\x03\x04": "zip", b"\xff\xd8\xff": "jpeg"}
SUFFIXES = {".md": "markdown", ".html": "html", ".csv": "csv", ".json": "json", ".py": "python", ".rst": "rst"}
STOPWORDS = {
    "en": "the of and to in a is that it for was on are as with his they at be this from have or by had not but "
    "what all were when we there can an your which their if do will each about how up out them then she he its",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
    "er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec mais "
    "comme ou si leur été cette aux ont sa ses être nous tout elle je on ces même y fait",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si "
    "sin sobre este ya entre cuando todo esta ser son dos también fue era muy hasta desde",
}
STOPWORD_SETS = {language: frozenset(words.split()) for language, words in STOPWORDS.items()}
# An apostrophe inside a word: of a typewriter, or the typographic U+2019.
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôûœæ]+")


def unpack(data: bytes) -> bytes:
    """Decompresses gzip, but never more than MAX_UNPACKED_BYTES of it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(data, MAX_UNPACKED_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"the gzip file is damaged: {error}") from error
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise ValueError(f"the document has more than {MAX_UNPACKED_BYTES} bytes when decompressed")
    if not stream.eof:
        raise ValueError("the gzip file is damaged: it ends too early")
    return unpacked


def kind_of(name: str, data: bytes) -> str:
    """The type of a document: by its first bytes, else by its name, else text or binary."""
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return kind
    try:
        data.decode()
    except UnicodeDecodeError:
        return "binary"
    return "binary" if b"\0" in data else SUFFIXES.get(PurePath(name).suffix.lower(), "text")


def words_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def language_of(words: list[str]) -> str:
    """The language whose commonest words cover most of the text; "unknown" for too little evidence."""
    counts = Counter(words)
    score = {language: sum(counts[word] for word in known) for language, known in STOPWORD_SETS.items()}
    best = max(score, key=lambda language: score[language])
    return best if score[best] >= max(3, len(words) // 20) else "unknown"


def top_terms(words: list[str], language: str, count: int = 5) -> list[str]:
    """The most frequent words that carry meaning; ties in alphabetical order."""
    ignored = STOPWORD_SETS.get(language, frozenset())
    terms = Counter(word for word in words if len(word) > 3 and word not in ignored)
    return [term for term, _count in sorted(terms.items(), key=lambda item: (-item[1], item[0]))[:count]]


def readability(text: str, words: list[str]) -> float | None:
    """Flesch reading ease: 100 is very easy, 0 very hard; made for English, a hint for the others."""
    if not words:
        return None
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    syllables = sum(max(1, len(VOWELS.findall(word))) for word in words)
    return round(206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words), 1)


def describe(text: str) -> dict:
    words = words_of(text)
    language = language_of(words)
    return {
        "words": len(words),
        "distinct_words": len(set(words)),
        "language": language,
        "top_terms": top_terms(words, language),
        "readability": readability(text, words),
    }
