# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a certificate will do: files are read, judged, and what is wrong is said with file, reason and remedy.

Works with every release of cryptography from 38 (Debian 12) on, so chains are followed here and not by the library.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

SERVER, CLIENT = "server", "client"
_BEGIN = b"-----BEGIN CERTIFICATE-----"
# Alone on their lines, as OpenSSL wants it.
_PEM = re.compile(rb"^" + _BEGIN + rb"[ \t]*\r?$.*?^-----END CERTIFICATE-----[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY_PEM = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----")
#: Debian's OpenSSL refuses what is weaker (security level 2).
_LEAST_RSA, _LEAST_EC = 2048, 224
_BROKEN_HASHES = frozenset({"md5", "sha1"})
#: A certificate without a longer way to its authority than this is a loop, or nobody's.
_LONGEST_CHAIN = 10


class Finding(NamedTuple):
    """One thing that is wrong; the fields of a problem of the catalogue."""

    code: str
    place: str
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.code}: {self.place} {self.what}: {self.instead}"


class File(NamedTuple):
    """A file as it was read. data: None when there is none."""

    path: str
    data: bytes | None


class Wish(NamedTuple):
    """What a certificate is for.

    common_name: what it must be, empty when nobody reads it. days: how long it shall last at least.
    """

    names: tuple[str, ...] = ()
    common_name: str = ""
    usages: tuple[str, ...] = (SERVER,)
    days: int = 0


class CertificateError(Exception):
    """What cannot be done with a certificate or key, with what to do about it."""


# --------------------------------------------------------------------------------------------------
# Reading


def read_certificates(data: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file. ValueError when one of them is damaged."""
    texts = _PEM.findall(data)
    if len(texts) != data.count(_BEGIN):
        raise ValueError("a certificate without its end, or with something else on its lines")
    return [x509.load_pem_x509_certificate(text) for text in texts]


def read_key(data: bytes) -> Any:
    """A private key. CertificateError says why it cannot be used."""
    if not _KEY_PEM.search(data):
        raise CertificateError("holds no private key in PEM format")
    try:
        return serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise CertificateError("holds a private key that is encrypted with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("holds a private key that cannot be read") from None


def public_bytes(key: Any) -> bytes:
    """A public key in the one form that can be compared."""
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def fits(certificate: x509.Certificate, key: Any) -> bool:
    """Whether a private key is that of a certificate."""
    return public_bytes(certificate.public_key()) == public_bytes(key.public_key())


def begins(certificate: x509.Certificate) -> datetime.datetime:
    return _aware(getattr(certificate, "not_valid_before_utc", None) or certificate.not_valid_before)


def ends(certificate: x509.Certificate) -> datetime.datetime:
    return _aware(getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after)


def _aware(moment: datetime.datetime) -> datetime.datetime:
    # Before its release 42 cryptography gives UTC without saying so.
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _title(name: x509.Name) -> str:
    return common_name(name) or name.rfc4514_string() or "a nameless authority"


def alternative_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """The DNS names and the addresses of a certificate."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return [], []
    return list(names.get_values_for_type(x509.DNSName)), [
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    ]


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# --------------------------------------------------------------------------------------------------
# Signatures and chains


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether issuer's key made the signature of certificate. Names are compared by the caller."""
    try:
        _verify(certificate, issuer.public_key())
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _verify(certificate: x509.Certificate, key: Any) -> None:
    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(signature, content)
        return
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        raise TypeError("a signature without a hash by a key that needs one")
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, content, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        is_pss = certificate.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.10"
        scheme: Any = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO) if is_pss else padding.PKCS1v15()
        key.verify(signature, content, scheme, algorithm)
    else:
        raise UnsupportedAlgorithm("neither RSA nor an elliptic curve")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    return certificate.issuer == issuer.subject and signed_by(certificate, issuer)


def _is_root(certificate: x509.Certificate) -> bool:
    return _issued(certificate, certificate)


class _Chain(NamedTuple):
    """A certificate's way to its authority: leaf first. trusted: how many of the last come from the CA file."""

    way: list[x509.Certificate]
    complete: bool
    stranger: x509.Certificate | None  #: has the name of the missing issuer, but not its key


def _follow(leaf: x509.Certificate, between: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> _Chain:
    way = [leaf]
    while len(way) <= _LONGEST_CHAIN:
        last = way[-1]
        if last in trusted and _is_root(last):
            return _Chain(way, True, None)
        named = [one for one in (*trusted, *between) if one.subject == last.issuer and one not in way]
        issuer = next((one for one in named if signed_by(last, one)), None)
        if issuer is None:
            return _Chain(way, False, named[0] if named else None)
        way.append(issuer)
    return _Chain(way, False, None)


# --------------------------------------------------------------------------------------------------
# Judgement


class Verdict(NamedTuple):
    """findings: what is wrong. leaf: the host's own certificate, None when it cannot be read.

    last_day: when the first certificate of the way to the authority ends.
    """

    findings: list[Finding]
    leaf: x509.Certificate | None
    last_day: datetime.datetime | None


def judge(certificate: File, key: File | None, authority: File, wish: Wish, now: datetime.datetime) -> Verdict:
    """Everything that is wrong with a certificate, its key and its way to the authority."""
    chain, unreadable = _readable(certificate, "a certificate")
    trusted, no_authority = _readable(authority, "the certificate of the authority")
    found = [*unreadable, *no_authority]
    if not chain:
        # A key without a certificate is nobody's problem yet.
        return Verdict(found, None, None)
    leaf = chain[0]
    private = None
    if key is not None:
        private, broken = _private(key)
        found += broken
    misplaced = _misplaced_leaf(chain, private)
    if misplaced is not None:
        found.append(
            Finding(
                "CC634",
                certificate.path,
                f"does not begin with the certificate of its key, which is number {misplaced + 1} in it",
                "put that first, then the one that signed it, and so on",
            )
        )
        leaf = chain[misplaced]
    elif private is not None and not fits(leaf, private):
        found.append(
            Finding(
                "CC629",
                key.path if key else "",
                f"is not the key of {certificate.path}",
                "put the key beside it that the certificate was asked for with",
            )
        )
    found += _validity(certificate.path, leaf, now, f"of {_title(leaf.subject)}")
    found += _soon(certificate.path, leaf, wish.days, now)
    found += _names(certificate.path, leaf, wish)
    found += _usage(certificate.path, leaf, wish.usages)
    found += _strength(certificate.path, leaf)
    last_day = ends(leaf)
    if trusted:
        way, wrong = _to_authority(certificate.path, authority.path, leaf, chain, trusted, wish.days, now)
        found += wrong
        last_day = min(ends(one) for one in way)
        if misplaced is None:
            found += _order(certificate.path, chain, way)
    return Verdict(list(dict.fromkeys(found)), leaf, last_day)


def _readable(file: File, meaning: str) -> tuple[list[x509.Certificate], list[Finding]]:
    if file.data is None:
        return [], [Finding("CC626", file.path, "is missing", f"put {meaning} in PEM format there")]
    try:
        read = read_certificates(file.data)
    except ValueError:
        return [], [Finding("CC626", file.path, "holds a damaged certificate", f"put {meaning} there anew")]
    if not read:
        return [], [Finding("CC626", file.path, "holds no certificate", f"put {meaning} in PEM format there")]
    return read, []


def _private(file: File) -> tuple[Any, list[Finding]]:
    if file.data is None:
        return None, [Finding("CC629", file.path, "is missing", "put the certificate's private key there")]
    try:
        return read_key(file.data), []
    except CertificateError as error:
        return None, [Finding("CC629", file.path, str(error), "write the key there in PEM format, without a password")]


def _misplaced_leaf(chain: Sequence[x509.Certificate], private: Any) -> int | None:
    if private is None or fits(chain[0], private):
        return None
    return next((number for number, one in enumerate(chain) if fits(one, private)), None)


def _day(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _validity(place: str, certificate: x509.Certificate, now: datetime.datetime, whose: str) -> Iterator[Finding]:
    if now > ends(certificate):
        yield Finding("CC627", place, f"({whose}) expired on {_day(ends(certificate))}", "have a new one issued")
    if now < begins(certificate):
        yield Finding(
            "CC628",
            place,
            f"({whose}) is not valid before {_day(begins(certificate))}",
            "wait, have one issued that is valid now, or set the clock right",
        )


def _soon(place: str, certificate: x509.Certificate, days: int, now: datetime.datetime) -> Iterator[Finding]:
    left = ends(certificate) - now
    if datetime.timedelta(0) <= left < datetime.timedelta(days=days):
        yield Finding(
            "CC635",
            place,
            f"(of {_title(certificate.subject)}) ends on {_day(ends(certificate))}, in {left.days} days",
            "have a new one issued before",
        )


def covers(pattern: str, name: str) -> bool:
    """Whether a DNS name of a certificate stands for a name; * stands for the first label."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        first, _dot, rest = name.partition(".")
        return bool(first) and rest == pattern[2:] and "." in rest
    return pattern == name


def _has(name: str, dns: Sequence[str], addresses: Sequence[str]) -> bool:
    try:
        return str(ipaddress.ip_address(name)) in addresses
    except ValueError:
        return any(covers(pattern, name) for pattern in dns)


def _names(place: str, leaf: x509.Certificate, wish: Wish) -> Iterator[Finding]:
    dns, addresses = alternative_names(leaf)
    missing = [name for name in wish.names if not _has(name, dns, addresses)]
    if missing:
        there = ", ".join([*dns, *addresses]) or "no name at all"
        yield Finding(
            "CC630",
            place,
            f"is not valid for {', '.join(missing)} (it is for {there})",
            "have one issued with these names as subject alternative names",
        )
    if wish.common_name and common_name(leaf.subject) != wish.common_name:
        yield Finding(
            "CC636",
            place,
            f"has the common name {common_name(leaf.subject)!r}",
            f"have one issued with the common name {wish.common_name}, by which the broker knows the user",
        )


def _usage(place: str, leaf: x509.Certificate, usages: Sequence[str]) -> Iterator[Finding]:
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield Finding(
            "CC633", place, "is the certificate of an authority", "put the certificate of the host or user first"
        )
        return
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        yield Finding("CC633", place, "may not sign (key usage)", "have one issued with the key usage digitalSignature")
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in extended:
        return
    purposes = {
        SERVER: (ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth"),
        CLIENT: (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth"),
    }
    missing = [purposes[name][1] for name in usages if purposes[name][0] not in extended]
    if missing:
        yield Finding(
            "CC633",
            place,
            f"is not for this purpose: its extended key usage lacks {' and '.join(missing)}",
            "have one issued with it",
        )


def _strength(place: str, certificate: x509.Certificate) -> Iterator[Finding]:
    key = certificate.public_key()
    size = getattr(key, "key_size", None)
    least = _LEAST_RSA if isinstance(key, rsa.RSAPublicKey) else _LEAST_EC
    instead = "have one issued with a key on P-256, or RSA with 2048 bits or more, and SHA-256"
    if size is not None and size < least:
        yield Finding("CC637", place, f"(of {_title(certificate.subject)}) has a key of only {size} bits", instead)
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return
    if algorithm is not None and algorithm.name in _BROKEN_HASHES and not _is_root(certificate):
        yield Finding(
            "CC637",
            place,
            f"(of {_title(certificate.subject)}) is signed with {algorithm.name.upper()}, which OpenSSL refuses",
            instead,
        )


def _to_authority(
    place: str,
    authority: str,
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    days: int,
    now: datetime.datetime,
) -> tuple[list[x509.Certificate], list[Finding]]:
    followed = _follow(leaf, [one for one in chain if one != leaf], trusted)
    found: list[Finding] = []
    for depth, one in enumerate(followed.way[1:]):
        where = authority if one in trusted else place
        found += _validity(where, one, now, f"of {_title(one.subject)}")
        found += _soon(where, one, days, now)
        found += _authority(where, one, depth)
        found += _strength(where, one)
        found += _strict_authority(where, one)
    if not followed.complete:
        found.append(_no_way(place, authority, followed, trusted))
    elif _extension(leaf, x509.AuthorityKeyIdentifier) is None:
        found.append(_strict(place, leaf, "does not name its authority's key (authority key identifier)"))
    return followed.way, found


def _no_way(place: str, authority: str, followed: _Chain, trusted: Sequence[x509.Certificate]) -> Finding:
    last = followed.way[-1]
    issuer = _title(last.issuer)
    if last in trusted:
        return Finding(
            "CC631",
            authority,
            f"holds {_title(last.subject)}, and not {issuer}, which signed it",
            "add the certificates up to the one that signed itself",
        )
    if followed.stranger is not None:
        return Finding(
            "CC631",
            place,
            f"names {issuer} as its authority, and that of {authority} has the same name and another key",
            f"have one issued by the authority of {authority}, or put the right authority there",
        )
    if _is_root(last) and last is followed.way[0]:
        return Finding(
            "CC631",
            place,
            "is signed by itself and not by an authority",
            f"have one issued by the authority of {authority}, or put the certificate of its own authority there",
        )
    known = ", ".join(_title(one.subject) for one in trusted)
    return Finding(
        "CC631",
        place,
        f"leads to {issuer}, which {authority} does not hold (it holds {known})",
        f"add the certificates in between to {place}, or have one issued by an authority of {authority}",
    )


def _authority(place: str, certificate: x509.Certificate, depth: int) -> Iterator[Finding]:
    """depth: how many authorities stand between this one and the leaf."""
    title = _title(certificate.subject)
    instead = "have the authority's certificate made with CA:TRUE and the key usage keyCertSign"
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield Finding("CC632", place, f"holds {title}, which is no authority (CA:TRUE is missing)", instead)
        return
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield Finding("CC632", place, f"holds {title}, which may not sign certificates (key usage)", instead)
    if constraints.path_length is not None and depth > constraints.path_length:
        yield Finding(
            "CC632",
            place,
            f"holds {title}, below which {constraints.path_length} authorities may stand, and there are {depth}",
            "have the certificate issued by an authority higher up",
        )


def _strict_authority(place: str, certificate: x509.Certificate) -> Iterator[Finding]:
    """What RFC 5280 asks of an authority and only strict clients look at."""
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield _strict(place, certificate, "does not name its own key (subject key identifier)")
    if _extension(certificate, x509.KeyUsage) is None:
        yield _strict(place, certificate, "has no key usage")
    constraints = next((one for one in certificate.extensions if isinstance(one.value, x509.BasicConstraints)), None)
    if constraints is not None and not constraints.critical:
        yield _strict(place, certificate, "has basic constraints that are not critical")


def _strict(place: str, certificate: x509.Certificate, what: str) -> Finding:
    return Finding(
        "CC638",
        place,
        f"(of {_title(certificate.subject)}) {what}, so Python 3.13 and newer refuse it",
        "have one issued as RFC 5280 asks",
    )


def _order(place: str, chain: Sequence[x509.Certificate], way: Sequence[x509.Certificate]) -> Iterator[Finding]:
    """A server sends its file as it is, and some clients read it in that order only."""
    wanted = [one for one in way if one in chain]
    present = [one for one in chain if one in wanted]
    if present != wanted:
        yield Finding(
            "CC634",
            place,
            f"holds its certificates in the order {', '.join(_title(one.subject) for one in chain)}",
            f"write {', '.join(_title(one.subject) for one in wanted)}",
        )
