"""Wire shapes: the seed's examples fit their models, bytes and models agree."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.contract import PROTOCOLS, HistoryRow
from app.server.dialects.maestra import wire
from tests.contract import test_maestra_seed as seed
from tests.unit.server.streams.test_announcer import SESSION
from tests.unit.server.streams.test_negotiation import STREAM


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (wire.StreamType, seed.NDI),
        (wire.Stream, seed.STREAM),
        (wire.Offer, seed.OFFER),
        (wire.Session, seed.SESSION),
        (wire.RegistryState, {"streams": [seed.STREAM], "sessions": [seed.SESSION], "stream_types": [seed.NDI]}),
    ],
)
def test_the_seeds_examples_fit(model: type[BaseModel], example: dict[str, object]) -> None:
    assert model.model_validate(example).model_dump(mode="json") == example
    assert list(model.model_fields) == list(example)


def test_bytes_fit_the_models() -> None:
    row = HistoryRow(
        id=SESSION.id,
        time=1_736_937_000.5,
        stream_id=STREAM.id,
        stream_name="x",
        stream_type="ndi",
        publisher_id="p",
        consumer_id="c",
        protocol="ndi",
        status="expired",
        duration_seconds=30.25,
    )
    for data, model in (
        (wire.stream_json(STREAM, 3), wire.Stream),
        (wire.session_json(SESSION), wire.Session),
        (wire.offer_json(SESSION), wire.Offer),
        (wire.historic_json(row), wire.HistoricSession),
    ):
        assert model.model_validate_json(data).model_dump(mode="json") == json.loads(data)


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (1_736_937_000.0, "2025-01-15T10:30:00Z"),
        (1_736_937_000.25, "2025-01-15T10:30:00.250000Z"),
        (1_736_937_000.000001, "2025-01-15T10:30:00.000001Z"),
        (0.0, "1970-01-01T00:00:00Z"),
    ],
)
def test_times(epoch: float, text: str) -> None:
    row = STREAM.__copy__()
    row.advertised_at = epoch
    assert json.loads(wire.stream_json(row, 0))["advertised_at"] == text


def test_arrays_of_any_length() -> None:
    for count in range(4):
        items = [b'{"n":%d}' % number for number in range(count)]
        assert json.loads(wire.array(items)) == [{"n": number} for number in range(count)]
    assert wire.enclosed(b'"a":[', [], b"]") == [b'"a":[]']


def test_protocols_are_those_of_the_contract() -> None:
    assert tuple(wire.Protocol) == PROTOCOLS


def test_an_id_in_any_form_becomes_canonical() -> None:
    adapter = TypeAdapter(wire.Id)
    canonical = STREAM.id
    for form in (canonical, canonical.upper(), canonical.replace("-", ""), f"{{{canonical}}}", f"urn:uuid:{canonical}"):
        assert adapter.validate_python(form) == canonical
    for wrong in ("", "x", canonical[:-1], canonical + "0", f" {canonical}", 5, None):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_without_a_registry_any_type_has_the_right_shape() -> None:
    """As for documentation: which types there are is known to the registry alone."""
    body = {"name": "x", "stream_type": "anything", "publisher_id": "p", "protocol": "udp", "address": "a", "port": 1}
    assert wire.Advertise.model_validate(body).stream_type == "anything"
