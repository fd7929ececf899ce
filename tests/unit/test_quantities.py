"""Memory, CPU and time as templates write them."""

from __future__ import annotations

import pytest

from app.errors import Invalid
from app.quantities import cpu_cores, duration_seconds, memory_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2Gi", 2**31), ("512Mi", 2**29), ("1.5Gi", 3 * 2**29), ("1000", 1000), ("1M", 10**6), ("64k", 64_000)],
)
def test_memory(text: str, amount: int) -> None:
    assert memory_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "Gi", "-1Gi", "1 Gi", "1gi", "1GiB", "0", "0.0000001", "1e9", "²Gi", "1Gi\n"])
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(Invalid, match="memory"):
        memory_bytes(text)


@pytest.mark.parametrize(("text", "cores"), [("1000m", 1.0), ("500m", 0.5), ("2", 2.0), ("0.25", 0.25)])
def test_cpu(text: str, cores: float) -> None:
    assert cpu_cores(text) == pytest.approx(cores)


@pytest.mark.parametrize("text", ["", "m", "0", "0m", "-1", "1.5m", "inf", "nan", "1 core", "1\n"])
def test_what_is_no_cpu(text: str) -> None:
    with pytest.raises(Invalid, match="CPU"):
        cpu_cores(text)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("45s", 45), ("1h30m", 5400), ("0", 0), ("0m", 0)])
def test_time(text: str, seconds: int) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "1d", "-5m", "1.5h", "30 m", "30m ", "9000h", "999999999h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Invalid):
        duration_seconds(text)
