"""Where spans go, and how: what ``otlp_endpoint`` and OpenTelemetry's variables say together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from qwenvl.errors import QwenVLError

TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
GRPC = "grpc"
HTTP = "http/protobuf"

HTTP_PORT = 4318
HTTP_PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Collector:
    """An OTLP collector.

    Attributes:
        url: for HTTP with its path.
        protocol: ``grpc`` or ``http/protobuf``.
    """

    url: str
    protocol: str


def read_collector(endpoint: str, environment: Mapping[str, str] = os.environ) -> Collector:
    """The collector at ``endpoint``, asked by the protocol of the environment, else by that of the port or path.

    Raises:
        QwenVLError: the endpoint is no URL, or the environment names another protocol.
    """
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
        over_http = parts.port == HTTP_PORT or parts.path not in ("", "/")
    except ValueError:
        known = over_http = False
    if not known:
        raise QwenVLError("otlp_endpoint must be a URL such as http://localhost:4317")
    protocol = _protocol(environment) or (HTTP if over_http else GRPC)
    if protocol == HTTP and parts.path in ("", "/"):
        return Collector(endpoint.rstrip("/") + HTTP_PATH, protocol)
    return Collector(endpoint, protocol)


def _protocol(environment: Mapping[str, str]) -> str | None:
    for variable in (TRACES_PROTOCOL, PROTOCOL):
        if protocol := environment.get(variable):
            if protocol not in (GRPC, HTTP):
                raise QwenVLError(f"{variable} must be {GRPC} or {HTTP}, not {protocol!r}")
            return protocol
    return None
