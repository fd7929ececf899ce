"""The broker's certificate: checked before anything starts, so that a wrong file is one readable line.

Called by ``main.py``; the context serves every listener. Its public part is copied into the data folder, where
programs of the same account find what to expect of a broker that they reach over loopback.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from app.errors import ConfigError
from app.paths import DataFolder, write_private

BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate. Raises ``ConfigError``."""
    for setting, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}.") from error
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _NeedsPassword as error:
        raise ConfigError(f"tls_key: {key} has a password; give a key without one.") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"tls_key: {key} is not the key of the certificate in {cert}.") from error
        raise ConfigError(f"tls_cert, tls_key: {cert} and {key} are no certificate and key in PEM: {error}.") from error
    return context


def publish_certificate(folder: DataFolder, cert: Path | None) -> None:
    """Copy the certificates, and never the key that may stand in the same file; without TLS remove an old copy."""
    if cert is None:
        folder.certificate.unlink(missing_ok=True)
        return
    write_private(folder.certificate, certificates_in(cert.read_bytes()))


def certificates_in(pem: bytes) -> bytes:
    """The certificates of a PEM file alone."""
    found: list[bytes] = []
    for part in pem.split(BEGIN)[1:]:
        body, end, _ = part.partition(END)
        if end:
            found.append(BEGIN + body + END + b"\n")
    return b"".join(found)


class _NeedsPassword(Exception):
    """OpenSSL asks for a password; it would otherwise ask the terminal."""


def _no_password() -> str:
    raise _NeedsPassword
