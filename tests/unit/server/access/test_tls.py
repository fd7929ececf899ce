from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from app.errors import ConfigError
from app.paths import DataFolder
from app.server.access.tls import certificates_in, publish_certificate, server_context


@pytest.fixture(scope="module")
def issued() -> trustme.LeafCert:
    return trustme.CA().issue_cert("show.local")


@pytest.fixture
def files(issued: trustme.LeafCert, tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return cert, key


def refused(cert: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        server_context(cert, key)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_certificate_and_key_make_a_context(files: tuple[Path, Path], issued: trustme.LeafCert, tmp_path: Path) -> None:
    assert server_context(*files)
    both = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    assert server_context(both, both)


def test_files_that_cannot_be_read_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = files
    assert f"tls_cert: {tmp_path / 'none.pem'} cannot be read" in refused(tmp_path / "none.pem", key)
    assert f"tls_key: {tmp_path} cannot be read" in refused(cert, tmp_path)


def test_a_key_of_another_certificate_is_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("other.local").private_key_pem.write_to_path(str(other))
    assert "is not the key of the certificate" in refused(files[0], other)


def test_what_is_no_pem_is_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_bytes(b"rubbish")
    assert "are no certificate and key in PEM" in refused(rubbish, files[1])
    assert "are no certificate and key in PEM" in refused(files[0], rubbish)


def test_a_key_with_a_password_asks_nobody(files: tuple[Path, Path], tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(files[1].read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "has a password" in refused(files[0], locked)


def test_the_data_folder_gets_the_certificates_and_never_the_key(issued: trustme.LeafCert, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    both = tmp_path / "both.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    publish_certificate(folder, both)
    copied = folder.certificate.read_bytes()
    assert copied == certificates_in(both.read_bytes())
    assert b"PRIVATE KEY" not in copied
    assert copied.count(b"BEGIN CERTIFICATE") == len(issued.cert_chain_pems)
    assert stat.S_IMODE(folder.certificate.stat().st_mode) == 0o600
    publish_certificate(folder, None)
    assert not folder.certificate.exists()
    publish_certificate(folder, None)
