"""Compression of single objects."""

from __future__ import annotations

import os
import random

import pytest

from pfsfuse.errors import StoreError
from pfsfuse.store.codec import MOST_LEVEL, Codec, Compression, decode

encode = Compression().encode


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 63, b"z" * 64, b"text " * 1000, os.urandom(5000)])
def test_what_is_encoded_decodes(data: bytes) -> None:
    """Objects that are empty, tiny, that shrink and that do not."""
    codec, stored = encode(data)

    assert data == decode(codec, bytes(stored), len(data))


def test_compression_is_kept_only_where_it_saves_a_sixteenth() -> None:
    """Random bytes with a few zeros shrink by less, text by more."""
    random_bytes = random.Random(1).randbytes(4000)

    assert Codec.RAW == encode(random_bytes + bytes(100))[0]
    assert Codec.ZSTD == encode(random_bytes + bytes(1000))[0]


def test_an_unknown_codec_is_named() -> None:
    """A newer version of pfs wrote the object."""
    with pytest.raises(StoreError, match="codec 9"):
        decode(9, b"", 0)


@pytest.mark.parametrize("codec", list(Codec))
def test_another_length_than_recorded_is_damage(codec: Codec) -> None:
    """The index says that the object has one byte more than was stored."""
    data = b"text " * 100
    used, stored = encode(data) if codec is Codec.ZSTD else (Codec.RAW, data)

    with pytest.raises(StoreError):
        decode(used, bytes(stored), len(data) + 1)


def test_a_frame_that_claims_exabytes_is_damage_and_allocates_nothing() -> None:
    """The content size in a zstd frame's header is damaged (RFC 8878, 3.1.1.1: 8-byte content size)."""
    frame = b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << 60).to_bytes(8, "little") + b"\x01\x00\x00"

    with pytest.raises(StoreError):
        decode(Codec.ZSTD, frame, 1000)


def test_bytes_that_are_no_frame_are_damage() -> None:
    """Something else than a zstd frame is stored."""
    with pytest.raises(StoreError):
        decode(Codec.ZSTD, b"no frame at all", 15)


def test_objects_encoded_together_are_what_they_are_alone() -> None:
    """Some shrink, some do not, one is too small to try."""
    objects = [b"text " * 1000, os.urandom(5000), b"more " * 100, b"tiny"]

    for some in (objects, objects[:3], objects[:1], []):
        together = Compression().encode_all(some)

        assert [(used, bytes(stored)) for used, stored in map(encode, some)] == [
            (used, bytes(stored)) for used, stored in together
        ]


def test_level_0_stores_everything_as_it_is() -> None:
    """PFS_COMPRESSION=off."""
    assert [(Codec.RAW, b"text " * 1000)] == Compression(0).encode_all([b"text " * 1000])


@pytest.mark.parametrize(("asked", "level"), [("off", 0), ("", 1), ("1", 1), ("19", MOST_LEVEL)])
def test_the_environment_chooses_the_level(asked: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PFS_COMPRESSION is `off`, empty or a number."""
    monkeypatch.setenv("PFS_COMPRESSION", asked)

    assert level == Compression.chosen().level


@pytest.mark.parametrize("asked", ["fast", "20", "-1"])
def test_a_level_that_is_none_is_refused_by_name(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PFS_COMPRESSION is a word or outside of the range."""
    monkeypatch.setenv("PFS_COMPRESSION", asked)

    with pytest.raises(StoreError, match=asked):
        Compression.chosen()
