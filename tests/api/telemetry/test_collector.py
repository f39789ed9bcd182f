import pytest

from qwenvl.api.telemetry.collector import PROTOCOL, TRACES_PROTOCOL, Collector, read_collector
from qwenvl.errors import QwenVLError


@pytest.mark.parametrize(
    ("endpoint", "environment", "expected"),
    [
        ("http://host:4317", {}, Collector("http://host:4317", "grpc")),
        ("https://host", {}, Collector("https://host", "grpc")),
        ("http://host:4318", {}, Collector("http://host:4318/v1/traces", "http/protobuf")),
        ("http://host:4318/", {}, Collector("http://host:4318/v1/traces", "http/protobuf")),
        ("http://host:9/otlp/v1/traces", {}, Collector("http://host:9/otlp/v1/traces", "http/protobuf")),
        ("http://host:9", {PROTOCOL: "http/protobuf"}, Collector("http://host:9/v1/traces", "http/protobuf")),
        (
            "http://host:4318",
            {PROTOCOL: "http/protobuf", TRACES_PROTOCOL: "grpc"},
            Collector("http://host:4318", "grpc"),
        ),
    ],
)
def test_protocol_by_environment_port_or_path(endpoint: str, environment: dict[str, str], expected: Collector) -> None:
    assert read_collector(endpoint, environment) == expected


@pytest.mark.parametrize("endpoint", ["", "host:4317", "grpc://host:4317", "http://", "http://host:x", "http://[::1"])
def test_what_is_no_url(endpoint: str) -> None:
    with pytest.raises(QwenVLError, match="otlp_endpoint must be a URL"):
        read_collector(endpoint, {})


def test_other_protocols_are_named() -> None:
    with pytest.raises(QwenVLError, match="OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf, not 'http/json'"):
        read_collector("http://host", {PROTOCOL: "http/json"})
