"""The bytes on the wire, written out by hand from the two specifications."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import probe_wire as wire


def test_start_ok_announces_the_capability_and_carries_the_login() -> None:
    frame = wire.start_ok("anna", "s3cret")
    kind, channel, size = struct.unpack(">BHI", frame[:7])
    assert (kind, channel, size) == (1, 0, len(frame) - 8)
    assert frame[-1] == 0xCE
    assert frame[7:11] == b"\x00\x0a\x00\x0b"
    assert b"\x0ccapabilitiesF\x00\x00\x00\x1f\x1cauthentication_failure_closet\x01" in frame
    assert frame.endswith(b"\x05PLAIN\x00\x00\x00\x0c\x00anna\x00s3cret\x05en_US\xce")


def test_open_and_tune_ok() -> None:
    assert wire.open_vhost("/") == b"\x01\x00\x00\x00\x00\x00\x08\x00\x0a\x00\x28\x01/\x00\x00\xce"
    tune = wire.parse_tune(b"\x07\xff\x00\x02\x00\x00\x00\x3c")
    assert tune == wire.Tune(2047, 131072, 60)
    assert wire.tune_ok(tune) == b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x00\xce"


def test_a_field_table_nests_and_counts_bytes_not_letters() -> None:
    assert wire.field_table({}) == b"\x00\x00\x00\x00"
    assert wire.field_table({"a": "é"}) == b"\x00\x00\x00\x09\x01aS\x00\x00\x00\x02\xc3\xa9"
    assert wire.field_table({"t": {"b": False}}) == b"\x00\x00\x00\x0b\x01tF\x00\x00\x00\x04\x01bt\x00"


def test_a_method_frame_reads_back() -> None:
    frame = wire.method_frame(wire.CLOSE, struct.pack(">H", 403) + wire.short_string("ACCESS_REFUSED - no"))
    assert wire.frame_size(frame[:7]) == len(frame) - 7
    method = wire.parse_method(frame[7:])
    assert method.id == wire.CLOSE
    assert wire.parse_close(method.arguments) == wire.Close(403, "ACCESS_REFUSED - no")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"AMQP\x00\x01\x00", "another version of AMQP"),
        (b"HTTP/1.", "not a method frame"),
        (b"\x01\x00\x01\x00\x00\x00\x04", "not a method frame"),
        (b"\x01\x00\x00\x7f\x00\x00\x00", "not a method frame"),
    ],
)
def test_what_is_no_frame_is_refused(header: bytes, message: str) -> None:
    with pytest.raises(wire.WireError, match=message):
        wire.frame_size(header)


def test_damaged_frames_are_refused() -> None:
    with pytest.raises(wire.WireError, match="end byte"):
        wire.parse_method(b"\x00\x0a\x00\x0a\x00")
    for damaged in (b"", b"\x01\x93\x05abc"):
        with pytest.raises(wire.WireError, match="wrong length"):
            wire.parse_close(damaged)
    with pytest.raises(wire.WireError, match="wrong length"):
        wire.parse_tune(b"\x00")
    with pytest.raises(wire.WireError, match="255 bytes"):
        wire.short_string("é" * 128)


def test_the_mechanisms_of_a_start() -> None:
    start = b"\x00\x09" + wire.field_table({"a": "b"}) + wire.long_string(b"PLAIN EXTERNAL") + wire.long_string(b"en")
    assert wire.parse_mechanisms(start) == ["PLAIN", "EXTERNAL"]
    for damaged in (b"", start[:4], start[:20]):
        with pytest.raises(wire.WireError, match="wrong length"):
            wire.parse_mechanisms(damaged)


def test_what_counts_as_amqp() -> None:
    assert wire.speaks_amqp(b"\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00\x0a")
    assert wire.speaks_amqp(wire.AMQP_HEADER)
    assert not wire.speaks_amqp(b"\x15\x03\x03\x00\x02\x02\x0a")
    assert not wire.speaks_amqp(b"")
    assert not wire.speaks_amqp(b"\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00")
    assert wire.is_tls_alert(b"\x15\x03\x03\x00\x02\x02\x0a")
    assert not wire.is_tls_alert(b"\x16\x03\x03")


def test_postgres_messages() -> None:
    assert wire.SSL_REQUEST == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    assert wire.startup_message("u", "d") == b"\x00\x00\x00\x1b\x00\x03\x00\x00user\x00u\x00database\x00d\x00\x00"
    assert wire.message_size(b"E\x00\x00\x00\x0a") == 6
    with pytest.raises(wire.WireError, match="not a message"):
        wire.message_size(b"HTTP/")
    with pytest.raises(wire.WireError, match="zero byte"):
        wire.startup_message("u\x00database\x00other", "d")


def test_postgres_errors_and_authentication_requests() -> None:
    fields = wire.parse_error(b"SFATAL\x00VFATAL\x00C28000\x00Mno pg_hba.conf entry\x00\x00")
    assert (fields["C"], fields["M"]) == ("28000", "no pg_hba.conf entry")
    assert wire.authentication_request(b"\x00\x00\x00\x0aSCRAM") == "asks this address for a password"
    assert wire.authentication_request(b"\x00\x00\x00\x00") == "lets it in without a password"
    assert "kind 99" in wire.authentication_request(b"\x00\x00\x00\x63")
    with pytest.raises(wire.WireError):
        wire.authentication_request(b"\x00")
