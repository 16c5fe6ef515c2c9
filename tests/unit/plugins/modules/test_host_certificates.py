"""Asking, signing and installing: the way of a certificate through three modules, with real files."""

from __future__ import annotations

import datetime
import grp
import json
import os
import pwd
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificates import begins, ends
from ansible_collections.taskfleet.celery_cluster.plugins.modules import (
    certificate_check,
    certificate_sign,
    host_certificates,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 100


class Host(NamedTuple):
    folder: Path
    wanted: list[dict[str, Any]]

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Authority(NamedTuple):
    certificate: Path
    key: Path

    @property
    def text(self) -> str:
        return self.certificate.read_text()


def make_authority(folder: Path, title: str = "Root") -> Authority:
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1000))
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Authority(folder / "ca.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "authority")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    folder = tmp_path / "host"
    folder.mkdir()
    owner = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    return Host(
        folder,
        [
            {
                "certificate": str(folder / "cert.pem"),
                "key": str(folder / "key.pem"),
                "common_name": "mq1",
                "names": ["mq1.example.org", "192.0.2.1"],
                "usages": ["server", "client"],
                **owner,
            },
            {
                "certificate": str(folder / "worker.pem"),
                "key": str(folder / "worker.key"),
                "common_name": "shop-worker",
                "usages": ["client"],
                "key_mode": "0640",
                "certificate_mode": "0640",
                **owner,
            },
        ],
    )


def run(
    capsys: pytest.CaptureFixture[str], module: ModuleType, check: bool = False, **arguments: Any
) -> dict[str, Any]:
    with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        module.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


class Way(NamedTuple):
    """The steps that the role takes."""

    capsys: pytest.CaptureFixture[str]
    host: Host
    authority: Authority

    def ask(self, check: bool = False, **more: Any) -> dict[str, Any]:
        given = {"authority": self.authority.text, "authority_file": "ca.pem", "renew_before_days": 30, **more}
        return run(self.capsys, host_certificates, check, certificates=self.host.wanted, **given)

    def sign(self, asked: dict[str, Any], **more: Any) -> dict[str, Any]:
        given = {
            "certificates": self.host.wanted,
            "requests": asked["requests"],
            "ca_file": str(self.authority.certificate),
            "key_file": str(self.authority.key),
            "days": DAYS,
            **more,
        }
        return run(self.capsys, certificate_sign, **given)

    def install(self, issued: list[dict[str, str]], check: bool = False) -> dict[str, Any]:
        return run(self.capsys, host_certificates, check, certificates=self.host.wanted, install=issued)

    def all(self, **more: Any) -> dict[str, Any]:
        answer = self.install(self.sign(self.ask(**more))["signed"])
        assert "failed" not in answer, answer
        return answer

    def judge(self, **more: Any) -> dict[str, Any]:
        fields = ("certificate", "key", "common_name", "names", "usages")
        judged = [
            {**{field: one[field] for field in fields if field in one}, "ca_file": str(self.authority.certificate)}
            for one in self.host.wanted
        ]
        return run(self.capsys, certificate_check, certificates=judged, **more)


@pytest.fixture
def way(capsys: pytest.CaptureFixture[str], host: Host, authority: Authority) -> Way:
    return Way(capsys, host, authority)


def keys(asked: dict[str, Any]) -> list[x509.SubjectKeyIdentifier]:
    """What identifies the keys of requests."""
    read = [x509.load_pem_x509_csr(one["csr"].encode()) for one in asked["requests"]]
    return [x509.SubjectKeyIdentifier.from_public_key(one.public_key()) for one in read]


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_from_nothing_to_certificates_that_stand_every_judgement(way: Way, host: Host) -> None:
    asked = way.ask()
    assert asked["changed"] is True
    assert [one["why"].split(":")[0] for one in asked["requests"]] == ["CC626", "CC626"]
    assert host.files() == ["key.pem.new", "worker.key.new"]
    done = way.install(way.sign(asked)["signed"])
    assert done["installed"] == [one["certificate"] for one in host.wanted]
    assert host.files() == ["cert.pem", "key.pem", "worker.key", "worker.pem"]
    assert way.judge()["findings"] == []
    modes = {name: f"{(host.folder / name).stat().st_mode & 0o777:o}" for name in host.files()}
    assert modes == {"cert.pem": "644", "key.pem": "600", "worker.key": "640", "worker.pem": "640"}


def test_a_second_run_changes_nothing(way: Way) -> None:
    way.all()
    assert way.ask() == {**way.ask(), "changed": False, "requests": []}


def test_check_mode_predicts_and_makes_nothing(way: Way, host: Host) -> None:
    asked = way.ask(check=True)
    assert (asked["changed"], [one["csr"] for one in asked["requests"]]) == (True, ["", ""])
    assert host.files() == []
    # Before the very first run there is no authority either.
    assert len(way.ask(check=True, authority="")["requests"]) == 2
    signed = way.sign(way.ask())["signed"]
    assert way.install(signed, check=True)["changed"] is True
    assert host.files() == ["key.pem.new", "worker.key.new"]


def test_what_is_signed_has_what_the_inventory_says_and_no_more(way: Way, host: Host) -> None:
    way.all()
    made = leaf(host.folder / "cert.pem")
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mq1.example.org"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1"]
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert ends(made) - begins(made) == datetime.timedelta(days=DAYS + 1)
    user = leaf(host.folder / "worker.pem")
    purposes = user.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in purposes] == ["1.3.6.1.5.5.7.3.2"]


def test_a_host_that_asks_for_another_name_does_not_get_it(way: Way, host: Host) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop-broker")]), critical=False)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    (signed,) = way.sign({"requests": [{"certificate": host.wanted[1]["certificate"], "csr": greedy}]})["signed"]
    text = x509.load_pem_x509_certificate(signed["text"].encode())
    assert text.subject.rfc4514_string() == "CN=shop-worker"
    with pytest.raises(x509.ExtensionNotFound):
        text.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    refused = way.sign({"requests": [{"certificate": "/etc/other.pem", "csr": greedy}]})
    assert "wants no such certificate" in refused["msg"]


def test_names_end_and_authority_make_a_new_certificate_with_the_same_key(way: Way, host: Host, tmp_path: Path) -> None:
    way.all()
    key = host.read("key.pem")
    host.wanted[0]["names"].append("shop-broker")
    asked = way.ask()
    assert [one["certificate"] for one in asked["requests"]] == [host.wanted[0]["certificate"]]
    assert "CC630" in asked["requests"][0]["why"]
    way.all()
    assert way.ask()["requests"] == [] and host.read("key.pem") == key
    assert len(way.ask(renew_before_days=DAYS + 1)["requests"]) == 2
    other = Way(way.capsys, host, make_authority(tmp_path / "next", "Next"))
    assert [one["why"].split(":")[0] for one in other.ask()["requests"]] == ["CC631", "CC631"]
    other.all()
    assert other.judge()["findings"] == [] and host.read("key.pem") == key


def test_rotation_makes_new_keys_and_the_old_ones_serve_until_then(way: Way, host: Host) -> None:
    way.all()
    before = host.read("key.pem"), host.read("cert.pem")
    asked = way.ask(new_keys=True)
    assert [one["why"] for one in asked["requests"]] == ["a new key is wanted"] * 2
    assert (host.read("key.pem"), host.read("cert.pem")) == before
    # Interrupted here; a run without rotation in between asks for nothing and leaves the waiting key alone.
    assert way.ask()["requests"] == []
    # The next rotation takes the key that waits, so two runs at once agree.
    assert keys(way.ask(new_keys=True)) == keys(asked)
    way.all(new_keys=True)
    assert host.read("key.pem") != before[0] and host.read("cert.pem") != before[1]
    assert way.judge()["findings"] == []
    assert not [name for name in host.files() if name.endswith(".new")]


def test_a_run_that_ended_between_key_and_certificate_is_healed(way: Way, host: Host) -> None:
    way.all()
    asked = way.ask(new_keys=True)
    signed = way.sign(asked)["signed"]
    # The new key is in place, its certificate is not.
    (host.folder / "key.pem.new").replace(host.folder / "key.pem")
    assert [one["why"].split(":")[0] for one in way.ask()["requests"]] == ["CC629"]
    way.install(signed)
    assert way.judge()["findings"] == []


def test_a_certificate_without_its_key_is_refused_and_the_old_pair_stays(way: Way, host: Host) -> None:
    way.all()
    before = host.read("key.pem"), host.read("cert.pem")
    foreign = way.sign(way.ask(new_keys=True))["signed"]
    (host.folder / "key.pem.new").unlink()
    answer = way.install(foreign)
    assert answer["failed"] is True and "no key beside" in answer["msg"]
    assert (host.read("key.pem"), host.read("cert.pem")) == before


def test_what_the_operator_brought_is_installed_with_its_key(way: Way, host: Host, tmp_path: Path) -> None:
    way.all()
    pair = host.read("cert.pem"), host.read("key.pem")
    (host.folder / "cert.pem").unlink()
    (host.folder / "key.pem").unlink()
    issued = [{"certificate": host.wanted[0]["certificate"], "text": pair[0], "key_text": pair[1]}]
    answer = way.install(issued)
    assert answer["changed"] is True and pair[1] not in json.dumps(answer)
    assert (host.read("cert.pem"), host.read("key.pem")) == pair
    assert way.install(issued)["changed"] is False
    wrong = way.install([{**issued[0], "key_text": host.read("worker.key")}])
    assert "is not that of" in wrong["msg"]
    for name, text in (("made.pem", pair[0]), ("made.key", pair[1])):
        (tmp_path / name).write_text(text)
    files = {"file": str(tmp_path / "made.pem"), "key_file": str(tmp_path / "made.key")}
    assert way.install([{"certificate": host.wanted[0]["certificate"], **files}])["changed"] is False
    stranger = way.install([{**issued[0], "certificate": "/etc/other.pem"}])
    assert "none of the host's certificates" in stranger["msg"]


def test_an_authority_that_cannot_sign_is_an_error_and_not_a_reason_to_ask(way: Way, tmp_path: Path) -> None:
    way.all()
    assert "holds no certificate" in way.ask(authority="nonsense")["msg"]
    other = make_authority(tmp_path / "other")
    mixed = way.sign({"requests": []}, key_file=str(other.key))
    assert "is not the key of" in mixed["msg"] and "backup" in mixed["msg"]
    assert "is missing" in way.sign({"requests": []}, key_file=str(tmp_path / "none"))["msg"]
    assert "private key in PEM format" in way.sign({"requests": []}, key_file=str(other.certificate))["msg"]


def test_a_damaged_request_is_refused(way: Way, host: Host) -> None:
    answer = way.sign({"requests": [{"certificate": host.wanted[0]["certificate"], "csr": "nonsense"}]})
    assert answer["failed"] is True


def test_the_end_of_the_authority_is_no_reason_to_ask_again(way: Way) -> None:
    way.all(renew_before_days=0)
    # The authority ends in 1000 days, the certificates in 100.
    asked = way.ask(renew_before_days=2000)
    assert all("ca.pem" not in one["why"] for one in asked["requests"])


def test_the_judgement_names_the_host_and_counts_the_days(way: Way, host: Host) -> None:
    way.all()
    answer = way.judge(days=DAYS + 5)
    assert [found["code"] for found in answer["findings"]] == ["CC635", "CC635"]
    first = answer["certificates"][0]
    assert (first["common_name"], first["issuer"], first["days_left"]) == ("mq1", "Root", DAYS - 1)
    assert first["names"] == ["mq1.example.org", "192.0.2.1"] and first["ends"].endswith("Z")
    (host.folder / "cert.pem").unlink()
    answer = way.judge()
    assert [found["place"] for found in answer["findings"]] == [host.wanted[0]["certificate"]]
    assert len(answer["certificates"]) == 1


def test_an_unreadable_file_is_said(way: Way, host: Host) -> None:
    (host.folder / "cert.pem").mkdir()
    assert "cannot be read: Is a directory" in way.judge()["msg"]
    assert "cannot be read: Is a directory" in way.ask()["msg"]


@pytest.mark.parametrize("module", [certificate_check, certificate_sign, host_certificates])
def test_without_the_library_the_modules_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setattr(module, "HAS_CRYPTOGRAPHY", False)
    needed = {
        certificate_check: {},
        certificate_sign: {"requests": [], "ca_file": "/a", "key_file": "/b", "days": 1},
        host_certificates: {"authority": ""},
    }
    assert "cryptography" in run(capsys, module, certificates=[], **needed[module])["msg"]
