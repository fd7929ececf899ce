"""What programs of ours trust when they speak TLS to a broker: the system's authorities, or certificates given.

Used by ``app/client`` and ``app/agent``. ``CALLBOARD_CA``, which ``--ca`` sets, names a PEM file: an authority, or the
very certificate of a broker. Over loopback the certificate counts and not the name in it, since nobody but this machine
answers there and a show's certificate names the machine as others call it.

The viewer's page speaks TLS by itself and knows none of this: what it cannot verify it asks ``vouched_for``.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.config import is_loopback
from app.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from cryptography.x509.verification import Subject

VARIABLE = "CALLBOARD_CA"


def client_context(url: str, ca: Path | None = None) -> ssl.SSLContext:
    """TLS towards the broker at ``url``. Raises ``ConfigError`` for certificates that cannot be read."""
    given = os.environ.get(VARIABLE)
    file = ca or (Path(given) if given else None)
    if file is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{file} cannot be read as certificates (--ca, {VARIABLE}): {error}.") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = not is_loopback(urlsplit(url).hostname or "")
    return context


def vouched_for(url: str, chain: Sequence[bytes]) -> bool:
    """Whether what ``CALLBOARD_CA`` names vouches for a server at ``url`` that showed these certificates (DER)."""
    given = os.environ.get(VARIABLE)
    host = urlsplit(url).hostname or ""
    if not given or not chain:
        return False
    from cryptography import x509

    try:
        known = x509.load_pem_x509_certificates(Path(given).read_bytes())
        leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
    except (OSError, ValueError):
        return False
    name = _first_name(leaf) if is_loopback(host) else host
    if leaf in known:
        now = datetime.now(UTC)
        return leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc and name in _names(leaf)
    return _verified(leaf, others, known, name)


def _verified(leaf: Certificate, others: list[Certificate], known: list[Certificate], name: str) -> bool:
    """Signatures, dates and name must fit; a house's own authority need not follow the rules of the web's."""
    from cryptography.x509 import BasicConstraints, SubjectAlternativeName
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

    lenient, either = ExtensionPolicy.permit_all(), Criticality.AGNOSTIC
    policy = PolicyBuilder().extension_policies(
        ca_policy=lenient.require_present(BasicConstraints, either, None),
        ee_policy=lenient.require_present(SubjectAlternativeName, either, None),
    )
    try:
        policy.store(Store(known)).build_server_verifier(_subject(name)).verify(leaf, others)
    except (VerificationError, ValueError):
        return False
    return True


def _subject(name: str) -> Subject:
    from cryptography.x509 import DNSName, IPAddress

    try:
        return IPAddress(ip_address(name))
    except ValueError:
        return DNSName(name)


def _names(certificate: Certificate) -> list[str]:
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return []
    return [*names.get_values_for_type(DNSName), *map(str, names.get_values_for_type(IPAddress))]


def _first_name(certificate: Certificate) -> str:
    return next(iter(_names(certificate)), "")
