"""Whether Hugging Face's hub can be reached: its library tries again for minutes where it cannot."""

import os
import socket
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

SECONDS = 10.0
PORTS = {"http": 80, "https": 443}
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def check_reachable(repository: str) -> None:
    """Connect to the hub once, unless the repository was downloaded before or a proxy stands between.

    Raises:
        ConnectionError: when the hub does not answer.
    """
    hub: Any = import_module("huggingface_hub")
    if isinstance(hub.try_to_load_from_cache(repository, "config.json"), str) or any(map(os.environ.get, PROXIES)):
        return
    address = urlsplit(hub.constants.ENDPOINT)
    host = address.hostname or ""
    try:
        socket.create_connection((host, address.port or PORTS.get(address.scheme, 443)), timeout=SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"{host} cannot be reached: {error.strerror or error}") from None
