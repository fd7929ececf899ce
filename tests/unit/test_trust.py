"""What is trusted, against real TLS servers."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from app.errors import ConfigError
from app.trust import client_context, vouched_for

LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC)


async def shake_hands(certificate: trustme.LeafCert, client: ssl.SSLContext, name: str) -> None:
    """Raises what the client says of the certificate."""
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(server_side)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    async with server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        writer.close()
        await writer.wait_closed()
        await ended.wait()


@pytest.fixture
def ca_file(tmp_path: Path) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca, tmp_path / "ca.pem"


async def test_an_authority_that_is_given_is_trusted(ca_file: tuple[trustme.CA, Path]) -> None:
    ca, file = ca_file
    await shake_hands(ca.issue_cert("show.local"), client_context("https://show.local:8443", file), "show.local")


async def test_the_variable_says_what_to_trust(
    ca_file: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, file = ca_file
    monkeypatch.setenv("CALLBOARD_CA", str(file))
    await shake_hands(ca.issue_cert("show.local"), client_context("wss://show.local"), "show.local")


async def test_another_name_and_another_authority_are_not(ca_file: tuple[trustme.CA, Path]) -> None:
    ca, file = ca_file
    for certificate in (ca.issue_cert("other.local"), trustme.CA().issue_cert("show.local")):
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake_hands(certificate, client_context("https://show.local", file), "show.local")
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake_hands(ca.issue_cert("show.local"), client_context("https://show.local"), "show.local")


async def test_over_loopback_the_certificate_counts_and_not_its_name(tmp_path: Path) -> None:
    ca = trustme.CA()
    own, other = ca.issue_cert("show.local"), ca.issue_cert("127.0.0.1")
    file = tmp_path / "broker.crt"
    own.cert_chain_pems[0].write_to_path(str(file))
    context = client_context("https://127.0.0.1:8080", file)
    await shake_hands(own, context, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake_hands(other, context, "127.0.0.1")


def test_what_holds_no_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    for file in (tmp_path / "rubbish.pem", tmp_path / "none.pem"):
        with pytest.raises(ConfigError, match="cannot be read as certificates"):
            client_context("https://show.local", file)


def chain_of(certificate: trustme.LeafCert) -> list[bytes]:
    return [ssl.PEM_cert_to_DER_cert(blob.bytes().decode()) for blob in certificate.cert_chain_pems]


def test_the_viewers_page_is_told_of_the_same_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    show, house = ca.issue_cert("show.local"), ca.issue_cert("10.0.0.5")
    child = ca.create_child_ca().issue_cert("show.local")
    stranger = trustme.CA().issue_cert("show.local")
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    assert not vouched_for("wss://show.local/x", chain_of(show))
    monkeypatch.setenv("CALLBOARD_CA", str(file))
    for url, certificate, vouched in (
        ("wss://show.local:8443/vnc-viewer/1?token=x", show, True),
        ("wss://show.local/x", child, True),
        ("wss://10.0.0.5/x", house, True),
        ("wss://127.0.0.1:8080/x", show, True),
        ("wss://other.local/x", show, False),
        ("wss://show.local/x", stranger, False),
        ("wss://127.0.0.1/x", stranger, False),
        ("nonsense", show, False),
    ):
        assert vouched_for(url, chain_of(certificate)) is vouched, url
    assert not vouched_for("wss://show.local/x", [])
    assert not vouched_for("wss://show.local/x", [b"rubbish"])
    file.write_text("rubbish")
    assert not vouched_for("wss://show.local/x", chain_of(show))


def test_the_brokers_very_certificate_vouches_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show = trustme.CA().issue_cert("show.local")
    old = trustme.CA().issue_cert("show.local", not_after=datetime(2020, 1, 1, tzinfo=UTC), not_before=LONG_AGO)
    file = tmp_path / "broker.crt"
    monkeypatch.setenv("CALLBOARD_CA", str(file))
    for certificate, vouched in ((show, True), (old, False)):
        certificate.cert_chain_pems[0].write_to_path(str(file))
        assert vouched_for("wss://127.0.0.1:8080/x", chain_of(certificate)) is vouched
        assert vouched_for("wss://show.local/x", chain_of(certificate)) is vouched
        assert not vouched_for("wss://other.local/x", chain_of(certificate))
