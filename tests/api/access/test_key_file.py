from pathlib import Path

import pytest

from qwenvl.api import Settings, create_app
from qwenvl.api.access.key_file import read_key_file
from qwenvl.api.access.keys import KeyFileError, digest_of
from qwenvl.api.context import Caller, KeyLimits
from tests.fake_engine import FakeEngine

DEFAULTS = KeyLimits(requests_per_minute=60, tokens_per_minute=1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.touch(0o600)
    return file


def test_callers_with_their_limits(path: Path) -> None:
    path.write_text(
        f"""
        [keys.alice]
        key = "hers"
        admin = true
        requests_per_minute = 5
        tokens_per_minute = "unlimited"
        concurrent_requests = 2

        [keys."team-b.1"]
        sha256 = "{digest_of("theirs").hex().upper()}"
        """
    )
    assert read_key_file(path, DEFAULTS) == {
        digest_of("hers"): Caller("alice", is_admin=True, limits=KeyLimits(5, None, 2)),
        digest_of("theirs"): Caller("team-b.1", limits=DEFAULTS),
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "keys: Field required"),
        ("[keys]", "keys: "),
        ("keys = 3", "keys: "),
        ("[keys.a]", "keys.a: needs either key or sha256"),
        ("[keys.a]\nkey = 'secret'\nsha256 = '" + "0" * 64 + "'", "keys.a: needs either key or sha256"),
        ("[keys.a]\nkey = ''", "keys.a.key: a key must have"),
        ("[keys.a]\nkey = 'my secret'", "keys.a.key: a key must have"),
        ("[keys.a]\nsha256 = 'secret'", "keys.a.sha256: "),
        ("[keys.a]\nkey = 5", "keys.a.key: "),
        ("[keys.a]\nkey = 'secret'\nrequests_per_minute = 0", "keys.a.requests_per_minute: "),
        ("[keys.a]\nkey = 'secret'\ntokens_per_minute = 'many'", "keys.a.tokens_per_minute: "),
        ("[keys.a]\nkey = 'secret'\nadmin = 'yes'", "keys.a.admin: "),
        ("[keys.a]\nkey = 'secret'\nlimit = 1", "keys.a.limit: "),
        ("[keys.a]\nkey = 'secret'\n[keys.b]\nkey = 'secret'", "keys.a and keys.b are the same key"),
        ("[keys.anonymous]\nkey = 'secret'", "keys.anonymous: "),
        ("[keys.'a b']\nkey = 'secret'", "the name of a key"),
        ("[alice]\nkey = 'secret'", "Field required"),
        ("[keys.a", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_mistakes_are_named_and_keys_are_not(path: Path, content: str, complaint: str) -> None:
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(KeyFileError) as refused:
        read_key_file(path, DEFAULTS)
    assert str(refused.value).startswith(str(path))
    assert complaint in str(refused.value)
    assert "secret" not in str(refused.value)


def test_no_such_file(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nowhere\.toml: No such file"):
        read_key_file(path.with_name("nowhere.toml"), DEFAULTS)


@pytest.mark.parametrize(
    ("mode", "content", "warned"),
    [
        (0o600, "key = 'secret'", False),
        (0o644, "key = 'secret'", True),
        (0o644, f"sha256 = '{'0' * 64}'", False),
    ],
)
def test_keys_for_all_to_read_are_warned_of(
    path: Path, mode: int, content: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"[keys.a]\n{content}")
    path.chmod(mode)
    read_key_file(path, DEFAULTS)
    assert (str(path) in caplog.text) is warned
    assert "secret" not in caplog.text


def test_a_key_of_the_file_and_of_the_settings(path: Path) -> None:
    path.write_text("[keys.a]\nkey = 'secret'")
    with pytest.raises(KeyFileError, match="the same key"):
        create_app(FakeEngine(), Settings.model_validate({"api_keys": ["secret"], "api_key_file": path}))
