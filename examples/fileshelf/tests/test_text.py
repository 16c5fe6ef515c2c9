from __future__ import annotations

import gzip

import pytest
from fileshelf import text


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", b"hello", "text"),
        ("a.md", "# Grüße".encode(), "markdown"),
        ("a.md", b"%PDF-1.7", "pdf"),
        ("a.txt", b"\x1f\x8b\x08", "gzip"),
        ("a.txt", b"caf\xe9", "binary"),
        ("a.txt", b"a\0b", "binary"),
        ("README", b"", "text"),
    ],
)
def test_kind(name: str, data: bytes, kind: str) -> None:
    assert text.kind_of(name, data) == kind


def test_unpack() -> None:
    assert text.unpack(gzip.compress(b"shelf")) == b"shelf"


def test_unpack_refuses_a_bomb_and_damage() -> None:
    with pytest.raises(ValueError, match="more than 4000000 bytes"):
        text.unpack(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ValueError, match="ends too early"):
        text.unpack(gzip.compress(b"shelf" * 100)[:-9])
    with pytest.raises(ValueError, match="damaged"):
        text.unpack(b"\x1f\x8b\x08" + b"\xff" * 40)


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("the ship and the sea are in the fog", "en"),
        ("der Garten ist nicht groß und die Sonne scheint", "de"),
        ("le jardin est dans la ville et les enfants sont avec elle", "fr"),
        ("el barco no es de los pescadores y la casa tampoco", "es"),
        ("lorem ipsum dolor sit amet", "unknown"),
        ("", "unknown"),
    ],
)
def test_language(words: str, language: str) -> None:
    assert text.language_of(text.words_of(words)) == language


def test_top_terms_are_stable_and_without_stopwords() -> None:
    words = text.words_of("Lamp lamp ships ships zebra there there there")
    assert text.top_terms(words, "en", 2) == ["lamp", "ships"]


def test_readability() -> None:
    easy = "The cat sat. The dog ran. We like it."
    hard = "Organisational considerations necessitate interdepartmental communication capabilities."
    assert text.readability(easy, text.words_of(easy)) > 90
    assert text.readability(hard, text.words_of(hard)) < 0
    assert text.readability("", []) is None
