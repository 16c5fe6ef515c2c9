"""Judging certificates: every fault is made for real, and its message names file, reason and remedy."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any, NamedTuple

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import certificates
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificates import (
    File,
    Finding,
    Wish,
    covers,
    judge,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
NAMES = ["mq1.example.org", "192.0.2.1"]
WISH = Wish(tuple(NAMES))
EDWARDS = "ed25519"


class Made(NamedTuple):
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def new_key(kind: str) -> Any:
    if kind == EDWARDS:
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP256R1())


def usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
    )
    flags = dict.fromkeys([*names.split(), "encipher_only", "decipher_only"], False)
    return x509.KeyUsage(**{**flags, **given})


def make(
    title: str,
    issuer: Made | None = None,
    *,
    authority: bool = False,
    path_length: int | None = None,
    names: list[str] | None = None,
    since: datetime.datetime = NOW - 30 * DAY,
    until: datetime.datetime = NOW + 300 * DAY,
    purposes: list[Any] | None = None,
    key_usage: x509.KeyUsage | None = None,
    kind: str = "ec",
    key: Any = None,
    constraints: bool = True,
    identifiers: bool = True,
) -> Made:
    key = key or new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    if identifiers:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        upper = x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key())
        builder = builder.add_extension(own, critical=False).add_extension(upper, critical=False)
    if authority and key_usage is None:
        key_usage = usage(key_cert_sign=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
    signer = issuer.key if issuer else key
    return Made(builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()), key)


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


ROOT = make("Root", authority=True, path_length=1, key_usage=usage(key_cert_sign=True))
MIDDLE = make("Middle", ROOT, authority=True, path_length=0, key_usage=usage(key_cert_sign=True))
LEAF = make(
    "mq1", MIDDLE, names=NAMES, key_usage=usage(digital_signature=True), purposes=[ExtendedKeyUsageOID.SERVER_AUTH]
)
DIRECT = make("mq1", ROOT, names=NAMES)


def findings(
    chain: bytes | None,
    key: bytes | None = LEAF.key_pem,
    authority: bytes | None = ROOT.pem,
    wish: Wish = WISH,
    now: datetime.datetime = NOW,
) -> list[Finding]:
    return judge(File("/c/mq1.pem", chain), File("/c/mq1.key", key), File("/c/ca.pem", authority), wish, now).findings


def only(found: list[Finding]) -> tuple[str, str, str]:
    assert len(found) == 1, found
    assert found[0].instead and not found[0].instead.endswith(".")
    return found[0].code, found[0].place, found[0].what


def test_a_good_chain_has_no_finding_and_says_how_long_it_lasts() -> None:
    soon = make("Middle", ROOT, authority=True, path_length=0, until=NOW + 50 * DAY, key=MIDDLE.key)
    assert findings(LEAF.pem + MIDDLE.pem) == []
    verdict = judge(File("c", LEAF.pem + soon.pem), File("k", LEAF.key_pem), File("a", ROOT.pem), WISH, NOW)
    assert verdict.findings == [] and verdict.last_day == NOW + 50 * DAY
    assert verdict.leaf == LEAF.certificate


@pytest.mark.parametrize("root_kind", ["ec", "rsa2048", EDWARDS])
def test_every_kind_of_key_can_sign(root_kind: str) -> None:
    root = make("Root", authority=True, kind=root_kind)
    leaf = make("mq1", root, names=NAMES, kind="rsa2048")
    assert findings(leaf.pem, leaf.key_pem, root.pem) == []


def test_of_several_authorities_the_right_one_counts() -> None:
    same_name = make("Root", authority=True)
    assert findings(DIRECT.pem, DIRECT.key_pem, same_name.pem + ROOT.pem) == []


@pytest.mark.parametrize(
    ("data", "what"),
    [(None, "is missing"), (b"", "holds no certificate"), (LEAF.key_pem, "holds no certificate")],
    ids=["nothing", "empty", "a key"],
)
def test_a_certificate_that_is_not_there(data: bytes | None, what: str) -> None:
    assert only(findings(data)) == ("CC626", "/c/mq1.pem", what)
    assert ("CC626", "/c/ca.pem", what) in [found[:3] for found in findings(LEAF.pem, authority=data)]


def test_a_damaged_certificate() -> None:
    cut = LEAF.pem.replace(b"-----END CERTIFICATE-----", b"")
    for damaged in (LEAF.pem.replace(b"MII", b"MIJ", 1), cut, LEAF.pem.rstrip() + MIDDLE.pem, LEAF.pem.rstrip() + b"x"):
        assert only(findings(damaged)) == ("CC626", "/c/mq1.pem", "holds a damaged certificate")
    windows = (LEAF.pem + MIDDLE.pem).replace(b"\n", b"\r\n")
    assert findings(b"a comment\n" + windows) == []


def test_expired_and_not_yet_valid() -> None:
    old = make("mq1", ROOT, names=NAMES, until=NOW - DAY)
    early = make("mq1", ROOT, names=NAMES, since=NOW + DAY)
    assert only(findings(old.pem, old.key_pem)) == (
        "CC627",
        "/c/mq1.pem",
        "(of mq1) expired on 2026-05-31 12:00 UTC",
    )
    assert only(findings(early.pem, early.key_pem))[::2] == (
        "CC628",
        "(of mq1) is not valid before 2026-06-02 12:00 UTC",
    )


def test_an_expired_authority_is_told_with_its_own_file() -> None:
    old = make("Root", authority=True, until=NOW - DAY)
    leaf = make("mq1", old, names=NAMES)
    assert only(findings(leaf.pem, leaf.key_pem, old.pem))[:2] == ("CC627", "/c/ca.pem")


def test_a_certificate_that_ends_soon_is_told_before() -> None:
    leaf = make("mq1", ROOT, names=NAMES, until=NOW + 10 * DAY)
    assert findings(leaf.pem, leaf.key_pem, wish=Wish(tuple(NAMES), days=10)) == []
    soon = findings(leaf.pem, leaf.key_pem, wish=Wish(tuple(NAMES), days=11))
    assert only(soon)[::2] == ("CC635", "(of mq1) ends on 2026-06-11 12:00 UTC, in 10 days")


def test_a_key_that_does_not_fit_or_cannot_be_read() -> None:
    encrypted = bytes(
        LEAF.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    chain = LEAF.pem + MIDDLE.pem
    cases = [
        (DIRECT.key_pem, "is not the key of /c/mq1.pem"),
        (None, "is missing"),
        (b"nothing", "holds no private key in PEM format"),
        (encrypted, "holds a private key that is encrypted with a password"),
        (LEAF.key_pem.replace(b"MIG", b"MIH", 1), "holds a private key that cannot be read"),
    ]
    for key, what in cases:
        assert only(findings(chain, key)) == ("CC629", "/c/mq1.key", what)
    assert b"".join(line for line in LEAF.key_pem.splitlines()[1:2]).decode() not in str(findings(chain, b"nothing"))


def test_missing_names_are_listed_with_those_that_are_there() -> None:
    wish = Wish(("mq1.example.org", "shop-broker", "192.0.2.9"))
    code, place, what = only(findings(DIRECT.pem, DIRECT.key_pem, wish=wish))
    assert (code, place) == ("CC630", "/c/mq1.pem")
    assert what == "is not valid for shop-broker, 192.0.2.9 (it is for mq1.example.org, 192.0.2.1)"
    nameless = make("mq1.example.org", ROOT)
    assert "it is for no name at all" in only(findings(nameless.pem, nameless.key_pem))[2]


@pytest.mark.parametrize(
    ("pattern", "name", "is_covered"),
    [
        ("*.example.org", "mq1.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.b.example.org", False),
        ("*.org", "example.org", False),
        ("MQ1.Example.org", "mq1.example.org", True),
        ("mq1", "mq2", False),
    ],
)
def test_wildcards_stand_for_one_label(pattern: str, name: str, is_covered: bool) -> None:
    assert covers(pattern, name) is is_covered


def test_addresses_are_compared_as_addresses() -> None:
    leaf = make("mq1", ROOT, names=["2001:db8::1"])
    assert findings(leaf.pem, leaf.key_pem, wish=Wish(("2001:DB8:0::1",))) == []


def test_a_foreign_authority() -> None:
    other = make("Elsewhere", authority=True)
    foreign = make("mq1", other, names=NAMES)
    code, place, what = only(findings(foreign.pem, foreign.key_pem))
    assert (code, place) == ("CC631", "/c/mq1.pem")
    assert what == "leads to Elsewhere, which /c/ca.pem does not hold (it holds Root)"


def test_another_authority_with_the_same_name() -> None:
    twin = make("Root", authority=True)
    assert "the same name and another key" in only(findings(DIRECT.pem, DIRECT.key_pem, twin.pem))[2]


def test_a_certificate_without_those_in_between() -> None:
    assert "leads to Middle" in only(findings(LEAF.pem))[2]


def test_a_certificate_that_signed_itself() -> None:
    alone = make("mq1", names=NAMES)
    assert "signed by itself" in only(findings(alone.pem, alone.key_pem))[2]


def test_an_authority_file_must_hold_the_root() -> None:
    assert only(findings(LEAF.pem, authority=MIDDLE.pem)) == (
        "CC631",
        "/c/ca.pem",
        "holds Middle, and not Root, which signed it",
    )


def test_an_authority_that_may_not_sign() -> None:
    cases = [
        (make("Root", key_usage=usage(key_cert_sign=True)), "holds Root, which is no authority (CA:TRUE is missing)"),
        (
            make("Root", constraints=False, key_usage=usage(key_cert_sign=True)),
            "holds Root, which is no authority (CA:TRUE is missing)",
        ),
        (make("Root", authority=True, key_usage=usage(digital_signature=True)), "may not sign certificates"),
    ]
    for root, what in cases:
        leaf = make("mq1", root, names=NAMES)
        code, place, told = only(findings(leaf.pem, leaf.key_pem, root.pem))
        assert (code, place) == ("CC632", "/c/ca.pem") and what in told


def test_a_path_that_is_too_long() -> None:
    short = make("Short", authority=True, path_length=0)
    middle = make("Middle", short, authority=True)
    leaf = make("mq1", middle, names=NAMES)
    code, place, what = only(findings(leaf.pem + middle.pem, leaf.key_pem, short.pem))
    assert (code, place) == ("CC632", "/c/ca.pem") and "below which 0 authorities may stand, and there are 1" in what


def test_the_purpose() -> None:
    server_only = Wish(tuple(NAMES), usages=("server", "client"))
    assert "lacks clientAuth" in only(findings(LEAF.pem + MIDDLE.pem, wish=server_only))[2]
    anything = make("mq1", ROOT, names=NAMES, purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    assert findings(anything.pem, anything.key_pem) == []
    silent = make("mq1", ROOT, names=NAMES, key_usage=usage(key_encipherment=True))
    assert only(findings(silent.pem, silent.key_pem))[::2] == ("CC633", "may not sign (key usage)")
    authority = make("mq1", ROOT, names=NAMES, authority=True)
    assert only(findings(authority.pem, authority.key_pem))[::2] == ("CC633", "is the certificate of an authority")


def test_the_order_of_a_chain() -> None:
    code, place, what = only(findings(MIDDLE.pem + LEAF.pem))
    assert (code, place) == ("CC634", "/c/mq1.pem")
    assert "does not begin with the certificate of its key, which is number 2" in what
    root = make("Root", authority=True)
    upper = make("Upper", root, authority=True)
    lower = make("Lower", upper, authority=True)
    leaf = make("mq1", lower, names=NAMES)
    swapped = only(findings(leaf.pem + upper.pem + lower.pem, leaf.key_pem, root.pem))
    assert swapped[2] == "holds its certificates in the order mq1, Upper, Lower"
    assert findings(leaf.pem + lower.pem + upper.pem, leaf.key_pem, root.pem) == []


def test_the_common_name_of_a_user() -> None:
    user = make("shop-worker", ROOT, purposes=[ExtendedKeyUsageOID.CLIENT_AUTH])
    good, bad = (Wish(common_name=name, usages=("client",)) for name in ("shop-worker", "shop-flower"))
    assert findings(user.pem, user.key_pem, wish=good) == []
    assert only(findings(user.pem, user.key_pem, wish=bad))[::2] == ("CC636", "has the common name 'shop-worker'")


def test_weak_keys() -> None:
    weak = make("mq1", ROOT, names=NAMES, kind="rsa1024")
    assert only(findings(weak.pem, weak.key_pem))[::2] == ("CC637", "(of mq1) has a key of only 1024 bits")


def test_weak_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    # The library signs nothing with SHA-1 any more, so the limit is moved instead.
    monkeypatch.setattr(certificates, "_BROKEN_HASHES", frozenset({"sha256"}))
    assert only(findings(DIRECT.pem, DIRECT.key_pem)) == (
        "CC637",
        "/c/mq1.pem",
        "(of mq1) is signed with SHA256, which OpenSSL refuses",
    )


def test_what_only_strict_clients_refuse() -> None:
    root = make("Root", authority=True, identifiers=False)
    leaf = make("mq1", root, names=NAMES, identifiers=False)
    told = findings(leaf.pem, leaf.key_pem, root.pem)
    assert [(found.code, found.place) for found in told] == [("CC638", "/c/ca.pem"), ("CC638", "/c/mq1.pem")]
    assert told[1].what.startswith("(of mq1) does not name its authority's key")


def test_everything_is_told_at_once() -> None:
    other = make("Elsewhere", authority=True)
    bad = make("mq1", other, until=NOW - DAY, purposes=[ExtendedKeyUsageOID.CLIENT_AUTH])
    assert {found.code for found in findings(bad.pem, DIRECT.key_pem)} == {
        "CC627",
        "CC629",
        "CC630",
        "CC631",
        "CC633",
    }


def test_a_finding_is_one_line() -> None:
    assert str(findings(None)[0]) == ("CC626: /c/mq1.pem is missing: put a certificate in PEM format there")
