"""What a run is made of: the same digests for the same things, other ones for other things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import inputs
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.inputs import Digests

DIGESTS = Digests("key")


def test_the_order_of_keys_is_nothing() -> None:
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    other = {"b": {"d": None, "c": [1, 2]}, "a": 1}
    assert DIGESTS.of(one) == DIGESTS.of(other)
    assert DIGESTS.of({1, 2, 3}) == DIGESTS.of({3, 2, 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (0, None),
        ("", None),
        ([], {}),
        (["a", "b"], ["b", "a"]),
        ({"a": {}}, {"a": []}),
        ({1: "x"}, {"1": "x"}),
        ([["a"], "b"], [["a", "b"]]),
        ({"a": 1}, {"map": [["a", 1]]}),
        (b"x", "x"),
    ],
)
def test_what_differs_has_another_digest(one: Any, other: Any) -> None:
    assert DIGESTS.of(one) != DIGESTS.of(other)


def test_a_digest_confirms_no_guess() -> None:
    assert DIGESTS.of("hunter2") != Digests("another key").of("hunter2")


def files(folder: Path) -> str:
    return DIGESTS.of_directory(folder)


def test_every_change_of_a_directory_counts(tmp_path: Path) -> None:
    (tmp_path / "roles/celery").mkdir(parents=True)
    (tmp_path / "roles/celery/main.yml").write_text("a")
    (tmp_path / "roles/link").symlink_to("celery")
    seen = {files(tmp_path)}
    (tmp_path / "roles/__pycache__").mkdir()
    (tmp_path / "roles/__pycache__/x.pyc").write_text("of no account")
    assert files(tmp_path) in seen
    (tmp_path / "roles/celery/main.yml").write_text("b")
    seen.add(files(tmp_path))
    (tmp_path / "roles/celery/other.yml").write_text("")
    seen.add(files(tmp_path))
    (tmp_path / "roles/celery/main.yml").rename(tmp_path / "roles/celery/main2.yml")
    seen.add(files(tmp_path))
    (tmp_path / "roles/link").unlink()
    (tmp_path / "roles/link").symlink_to("elsewhere")
    seen.add(files(tmp_path))
    (tmp_path / "roles/link").unlink()
    seen.add(files(tmp_path))
    assert len(seen) == 6


def test_what_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DIGESTS.of_directory(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        DIGESTS.of_file(tmp_path)


def test_the_collection_counts_and_its_documents_do_not(tmp_path: Path) -> None:
    for folder in ("roles", "plugins", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("a")
    before = inputs.collection_digest(tmp_path, DIGESTS)
    (tmp_path / "docs/file").write_text("b")
    assert inputs.collection_digest(tmp_path, DIGESTS) == before
    (tmp_path / "plugins/file").write_text("b")
    assert inputs.collection_digest(tmp_path, DIGESTS) != before


def test_every_kept_file_is_a_part(tmp_path: Path) -> None:
    assert inputs.secret_parts(tmp_path / "none", DIGESTS) == {}
    (tmp_path / "ca").mkdir()
    (tmp_path / "broker_worker").write_text("a")
    (tmp_path / "ca/key.pem").write_text("b")
    before = inputs.secret_parts(tmp_path, DIGESTS)
    (tmp_path / "broker_worker").write_text("c")
    (tmp_path / "ca/key.pem").unlink()
    assert inputs.differences(before, inputs.secret_parts(tmp_path, DIGESTS)) == [
        "the file of celery_secrets_directory broker_worker has changed",
        "the file of celery_secrets_directory ca/key.pem has changed",
    ]


def test_what_hosts_share_is_kept_once() -> None:
    per_host = {"a": {"x": "1", "y": "2", "own": "3"}, "b": {"x": "1", "y": "4"}}
    common, rest = inputs.compress(per_host)
    assert common == {"x": "1"}
    assert rest == {"a": {"y": "2", "own": "3"}, "b": {"y": "4"}}
    assert all(inputs.expand(common, rest, host) == parts for host, parts in per_host.items())
    assert inputs.compress({}) == ({}, {})


def test_what_all_hosts_say_is_told_once() -> None:
    assert inputs.told_once({}) == []
    assert inputs.told_once({"a": ["x"]}) == ["a: x"]
    assert inputs.told_once({"a": ["x", "y"], "b": ["x"]}) == ["x", "a: y"]
    assert inputs.told_once({"a": ["x"], "b": []}) == ["a: x"]


def test_what_moved_during_a_run_is_told_from_what_it_made() -> None:
    kept, found = f"{inputs.KEPT_FILE}ca.pem", f"{inputs.FOUND}database"
    began = {"celery_workers": "1", f"{inputs.KEPT_FILE}release": "1"}
    ended = {**began, kept: "new", found: "5"}
    assert inputs.moved(began, ended) == []
    assert inputs.moved(began, {**ended, "celery_workers": "2"}) == ["celery_workers"]
    assert inputs.moved(began, {**ended, "what celery_database_ca_file names": "2"}) != []
    assert inputs.moved({**began, kept: "old"}, ended) == [kept]
    assert inputs.moved({**began, kept: "old"}, began) == [kept]


def test_what_the_roles_own_is_put_together() -> None:
    claims = [
        {"hosts": ["a", "b"], "files": ["/x", ""], "units": ["u"]},
        {"hosts": ["a"], "files": ["/y", "/x"], "ports": [4369]},
        {"hosts": [], "files": ["/z"]},
    ]
    assert inputs.merge(claims, "a") == {"files": ["/x", "/y"], "units": ["u"], "ports": [4369]}
    assert inputs.merge(claims, "b") == {"files": ["/x"], "units": ["u"]}
    assert inputs.merge(claims, "c") == {}
