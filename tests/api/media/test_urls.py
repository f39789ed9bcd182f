import pytest

from qwenvl.api.media.urls import MAX_URL_LENGTH, Domains, Target, UrlError, read_url


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/"), "example.com"),
        ("HTTPS://Example.COM./a.png", Target("https", "example.com", 443, "/a.png"), "example.com"),
        ("http://example.com:/a", Target("http", "example.com", 80, "/a"), "example.com"),
        ("https://example.com:80/a", Target("https", "example.com", 80, "/a"), "example.com:80"),
        ("http://a_b.example.com:8080?x=1#y", Target("http", "a_b.example.com", 8080, "/?x=1"), "a_b.example.com:8080"),
        ("http://h/a%2Fb%20c?s=%2B+/~!$'", Target("http", "h", 80, "/a%2Fb%20c?s=%2B+/~!$'"), "h"),
        ("http://h/图.png", Target("http", "h", 80, "/%E5%9B%BE.png"), "h"),
        ("http://8.8.8.8./a", Target("http", "8.8.8.8", 80, "/a"), "8.8.8.8"),
        ("http://[2606:4700:0::1111]:8000/", Target("http", "2606:4700::1111", 8000, "/"), "[2606:4700::1111]:8000"),
        ("http://xn--bcher-kva.example/", Target("http", "xn--bcher-kva.example", 80, "/"), "xn--bcher-kva.example"),
        ("http://h//x/../y@z:1", Target("http", "h", 80, "//x/../y@z:1"), "h"),
        ("http://deadbeef.example/", Target("http", "deadbeef.example", 80, "/"), "deadbeef.example"),
    ],
)
def test_urls(url: str, target: Target, authority: str) -> None:
    assert read_url(url) == target
    assert target.authority == authority


REFUSED = {
    "begin with http": ["http:example.com", "http:/example.com", "ftp://example.com/", "//example.com/", "http;//x/"],
    "host is malformed": [
        "http://",
        "http:///etc/passwd",
        "http://?x",
        "http://a..b/",
        "http://example.com../",
        "http://./",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%00.example.com/",
        "http://a,b/",
        "http://a*b/",
        "http://127.0.0.1&example.com/",
        "http://127.0.0.1;example.com/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}aa/",
    ],
    "host and port are malformed": [
        "http://[::1/",
        "http://::1/",
        "http://a:b/",
        "http://a:80:80/",
        "http://a:+80/",
        "http://a:８０/",
        "http://a:123456/",
        "http://[::1]x/",
    ],
    "four decimal numbers": [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7F.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://127.0.0.1.1/",
        "http://127.0.0.256/",
        "http://127.0.0.01/",
        "http://017700000001/",
        "http://example.0x/",
        "http://a.1./",
    ],
    "not an IPv6 address": ["http://[127.0.0.1]/", "http://[v1.x]/", "http://[]/", "http://[::g]/", "http://[a.b]/"],
    "without a zone": ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1%1]/"],
    "user name or password": [
        "http://me@example.com/",
        "http://me:secret@example.com/",
        "http://example.com@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://127.0.0.1:80@example.com/",
    ],
    "no spaces": [
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0.1\\.example.com/",
        "http:\\\\127.0.0.1/",
        "http://a b/",
        "http://a/b c",
        "http://a\t/",
        "http://a/\r\nX: y",
        "http://a/\x00",
        "http://a/\x7f",
        "http://a/\u2028",
        "http://a/\u00a0",
        "http://a/\u202egnp",
        "http://a/\ud800",
        "ht\ntp://a/",
    ],
    "in ASCII": [
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://ｌocalhost/",
        "http://bücher.example/",
        "http://ſ/",
    ],
    "port must be": [
        f"http://a:{port}/" for port in (0, 1, 22, 25, 53, 81, 111, 389, 1023, 2049, 6000, 6667, 10080, 65536, 99999)
    ],
    "at most 8192 characters": [f"http://a/{'x' * MAX_URL_LENGTH}"],
}


@pytest.mark.parametrize(("reason", "url"), [(reason, url) for reason, urls in REFUSED.items() for url in urls])
def test_refused(reason: str, url: str) -> None:
    with pytest.raises(UrlError, match=reason):
        read_url(url)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("b.png?x=1", "https://example.com:8443/a/b.png?x=1"),
        ("/b.png", "https://example.com:8443/b.png"),
        ("//other.example/b", "https://other.example/b"),
        ("https://other.example", "https://other.example/"),
        ("?y", "https://example.com:8443/a/?y"),
    ],
)
def test_join(location: str, expected: str) -> None:
    assert read_url("https://example.com:8443/a/").join(location) == read_url(expected)


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/",
        "file:///etc/passwd",
        "//me@other.example/",
        "https://2130706433/",
        "https:///x/",
        "https:x",
        "///x/",
        "a:b",
        "/a b",
        "/\\x",
        "\tx",
    ],
)
def test_join_refuses(location: str) -> None:
    with pytest.raises(UrlError):
        read_url("https://example.com:8443/a/").join(location)


def test_from_http_to_https_is_no_downgrade() -> None:
    assert read_url("http://example.com/").join("https://example.com/").scheme == "https"


@pytest.mark.parametrize(
    ("entries", "allowed", "refused"),
    [
        ([], ["example.com", "8.8.8.8"], []),
        (["Example.com."], ["example.com"], ["a.example.com", "example.org", "badexample.com"]),
        (
            ["*.example.com"],
            ["a.example.com", "a.b.example.com"],
            ["example.com", "badexample.com", "example.com.evil"],
        ),
        ([".example.com", "example.com"], ["a.example.com", "example.com"], ["badexample.com"]),
        (["8.8.8.8", "2606:4700:0::1"], ["8.8.8.8", "2606:4700::1"], ["8.8.4.4", "8.8.8.8.example"]),
    ],
)
def test_domains(entries: list[str], allowed: list[str], refused: list[str]) -> None:
    domains = Domains(entries)
    assert all(domains.allow(host) for host in allowed)
    assert not any(domains.allow(host) for host in refused)
