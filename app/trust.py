"""What programs of ours trust when they speak TLS to a broker: the system's authorities, or certificates given.

Used by ``app/client`` and ``app/agent``. ``CALLBOARD_CA``, which ``--ca`` sets, names a PEM file: an authority, or the
very certificate of a broker. Over loopback the certificate counts and not the name in it, since nobody but this machine
answers there and a show's certificate names the machine as others call it.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from app.config import is_loopback
from app.errors import ConfigError

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
