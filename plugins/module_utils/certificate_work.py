# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys, requests and signatures, and how a pair of certificate and key takes the place of another."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .certificates import (
    CLIENT,
    SERVER,
    CertificateError,
    File,
    Finding,
    Wish,
    fits,
    judge,
    public_bytes,
    read_certificates,
    read_key,
)
from .host_files import Entry, FileError, apply

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    # The modules say so: see HAS_CRYPTOGRAPHY.
    pass

#: A new key waits here until its certificate is there.
WAITING = ".new"

#: An authority with these still signs: it ends soon, or only strict clients refuse it.
_ONLY_STRICT = "CC638"
_ADVICE = frozenset({"CC635", _ONLY_STRICT})

#: What the modules' option `certificates` takes; documented in doc_fragments/certificates.py.
WANTED = {
    "type": "list",
    "elements": "dict",
    "required": True,
    "options": {
        "certificate": {"type": "path", "required": True},
        "key": {"type": "path", "required": True, "no_log": False},
        "common_name": {"type": "str", "required": True},
        "names": {"type": "list", "elements": "str", "default": []},
        "usages": {"type": "list", "elements": "str", "choices": [SERVER, CLIENT], "default": [SERVER]},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str"},
        "key_mode": {"type": "str", "default": "0600", "no_log": False},
        "certificate_mode": {"type": "str", "default": "0644"},
    },
}


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def read(path: str) -> File:
    try:
        return File(path, Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return File(path, None)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None


def wish_of(wanted: Mapping[str, Any], days: int) -> Wish:
    usages = tuple(wanted["usages"])
    # A server is known by its names; only the broker reads a common name, that of a user.
    common_name = wanted["common_name"] if SERVER not in usages else ""
    return Wish(tuple(wanted["names"]), common_name, usages, days)


# --------------------------------------------------------------------------------------------------
# What a host lacks


def shortcomings(wanted: Mapping[str, Any], authority: File, days: int) -> list[Finding]:
    """Why the present certificate has to be replaced. What is wrong with the authority is an error instead.

    authority without data: there is none yet, as in a check before the first run.
    """
    if authority.data is None:
        return [Finding("CC626", wanted["certificate"], "cannot be issued yet", "make the authority first")]
    verdict = judge(read(wanted["certificate"]), read(wanted["key"]), authority, wish_of(wanted, days), now())
    about_authority = [found for found in verdict.findings if found.place == authority.path]
    broken = [found for found in about_authority if found.code not in _ADVICE]
    if broken:
        raise CertificateError("; ".join(str(found) for found in broken))
    # Another one by the same authority would be as it is.
    return [found for found in verdict.findings if found not in about_authority and found.code != _ONLY_STRICT]


def request(wanted: Mapping[str, Any], new_key: bool) -> str:
    """A request for a certificate. The key in use serves again, unless it is unusable or new_key.

    A new key waits beside the one in use: a process that reads the pair meanwhile finds one that fits.
    """
    waiting = Path(wanted["key"] + WAITING)
    key = _usable(waiting) or (None if new_key else _usable(Path(wanted["key"])))
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        apply(Entry(_as_entry(str(waiting), text, _owner(wanted), "0600")), check=False)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted["common_name"])])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _usable(path: Path) -> Any:
    file = read(str(path))
    if file.data is None:
        return None
    try:
        key = read_key(file.data)
    except CertificateError:
        return None
    # Other kinds of keys were not made here.
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1" else None


# --------------------------------------------------------------------------------------------------
# Signing


def sign(asked: str, wanted: Mapping[str, Any], authority: x509.Certificate, authority_key: Any, days: int) -> str:
    """A certificate for the key of a request.

    Nothing but the key is taken from the request: a host that asks for another's names does not get them.
    """
    request_ = x509.load_pem_x509_csr(asked.encode("ascii"))
    if not request_.is_signature_valid:
        raise CertificateError(f"the request for {wanted['certificate']} is not signed with its own key")
    moment = now()
    purposes = {SERVER: ExtendedKeyUsageOID.SERVER_AUTH, CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted["common_name"])]))
        .issuer_name(authority.subject)
        .public_key(request_.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: a host whose clock is a little behind must not refuse it.
        .not_valid_before(moment - datetime.timedelta(days=1))
        .not_valid_after(moment + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purposes[name] for name in wanted["usages"]]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request_.public_key()), critical=False)
        .add_extension(_key_identifier(authority), critical=False)
    )
    if wanted["names"]:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in wanted["names"]]), critical=False
        )
    signed = builder.sign(authority_key, _hash_for(authority_key))
    return signed.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _hash_for(key: Any) -> Any:
    # Keys of Edwards curves have their hash built in.
    return None if not isinstance(key, ec.EllipticCurvePrivateKey) and not hasattr(key, "key_size") else hashes.SHA256()


# --------------------------------------------------------------------------------------------------
# Installing


def install(wanted: Mapping[str, Any], text: bytes, key_text: bytes | None, check: bool) -> bool:
    """Put certificate and key in place, one right after the other. True when something changed.

    key_text: None for the key that was made here, whether it waits or is in use.
    """
    chain = read_certificates(text)
    if not chain:
        raise CertificateError(f"what shall become {wanted['certificate']} holds no certificate")
    waiting = Path(wanted["key"] + WAITING)
    if key_text is None:
        key_text = _key_for(chain[0], wanted["key"])
    elif not fits(chain[0], read_key(key_text)):
        raise CertificateError(f"the key that shall become {wanted['key']} is not that of {wanted['certificate']}")
    owner = _owner(wanted)
    pair = [
        _as_entry(wanted["key"], key_text, owner, wanted["key_mode"]),
        _as_entry(wanted["certificate"], text, owner, wanted["certificate_mode"]),
    ]
    changed = False
    for entry in pair:
        try:
            changed = apply(Entry(entry), check) is not None or changed
        except FileError as error:
            raise CertificateError(f"{entry['path']}: {error}") from None
    if waiting.exists() and not check:
        # Either it is in place now, or its certificate never came.
        waiting.unlink()
    return changed


def _key_for(leaf: x509.Certificate, path: str) -> bytes:
    for candidate in (path + WAITING, path):
        data = read(candidate).data
        try:
            if data is not None and fits(leaf, read_key(data)):
                return data
        except CertificateError:
            continue
    raise CertificateError(f"no key beside {path} fits the certificate that was issued: run the playbook again")


def _owner(wanted: Mapping[str, Any]) -> tuple[str, str]:
    return wanted["owner"], wanted["group"] or wanted["owner"]


def _as_entry(path: str, content: bytes, owner: tuple[str, str], mode: str) -> dict[str, Any]:
    return {
        "path": path,
        "content": content.decode("utf-8"),
        "owner": owner[0],
        "group": owner[1],
        "mode": mode,
        "secret": True,
    }


def signing_pair(certificate: File, key: File) -> tuple[x509.Certificate, Any]:
    """An authority's certificate and key. CertificateError when they do not belong together."""
    if certificate.data is None or key.data is None:
        missing = certificate.path if certificate.data is None else key.path
        raise CertificateError(f"{missing} is missing: without it nothing can be signed")
    try:
        (first, *_more) = read_certificates(certificate.data)
    except ValueError:
        raise CertificateError(f"{certificate.path} holds no certificate that can be read") from None
    try:
        private = read_key(key.data)
    except CertificateError as error:
        raise CertificateError(f"{key.path} {error}") from None
    if public_bytes(first.public_key()) != public_bytes(private.public_key()):
        raise CertificateError(f"{key.path} is not the key of {certificate.path}: put the pair back from your backup")
    return first, private


def by_certificate(entries: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {entry["certificate"]: entry for entry in entries}


def umask() -> None:
    """Files that are made before their mode is set are nobody else's business."""
    os.umask(0o077)
