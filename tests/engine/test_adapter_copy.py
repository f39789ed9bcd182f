import os
from pathlib import Path

import pytest

from qwenvl.engine.adapter_copy import CONFIG_FILE, LARGEST_CONFIG, WEIGHTS_FILE, copy_file, read_file
from qwenvl.errors import CheckpointError, UserError


def write(folder: Path, config: bytes = b"{}", weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_bytes(config)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    return folder


def copy_adapter(source: Path, target: Path, *, inside: Path | None = None) -> bytes:
    """Copy the weights of an adapter; its configuration."""
    config = read_file(source / CONFIG_FILE, largest=LARGEST_CONFIG, inside=inside)
    copy_file(source / WEIGHTS_FILE, target / WEIGHTS_FILE, largest=100, inside=inside)
    return config


@pytest.fixture
def approved(tmp_path: Path) -> Path:
    (folder := tmp_path / "approved").mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (folder := tmp_path / "target").mkdir()
    return folder


def test_read_and_copied(tmp_path: Path, target: Path) -> None:
    assert copy_adapter(write(tmp_path / "a"), target) == b"{}"
    assert (target / WEIGHTS_FILE).read_bytes() == b"weights"


def test_a_full_disk_is_no_fault_of_the_adapter(tmp_path: Path) -> None:
    source = write(tmp_path / "a")
    for target in (tmp_path / "gone" / "copy", source / WEIGHTS_FILE):
        with pytest.raises(OSError, match=str(target)):
            copy_file(source / WEIGHTS_FILE, target, largest=100)


@pytest.mark.parametrize("path", ["a", "deep/er/a", "link", "a/../a", "../approved/a"])
def test_inside(approved: Path, target: Path, path: str) -> None:
    write(approved / "a")
    write(approved / "deep" / "er" / "a")
    (approved / "link").symlink_to(approved / "deep" / "er" / "a")
    copy_adapter(approved / path, target, inside=approved)
    assert (target / WEIGHTS_FILE).read_bytes() == b"weights"


def test_files_linked_inside_as_a_hub_cache_has_them(approved: Path, target: Path) -> None:
    source = write(approved / "a")
    (source / WEIGHTS_FILE).unlink()
    (approved / "blob").write_bytes(b"from the blob")
    (source / WEIGHTS_FILE).symlink_to("../blob")
    copy_adapter(source, target, inside=approved)
    assert (target / WEIGHTS_FILE).read_bytes() == b"from the blob"


@pytest.mark.parametrize("path", ["../outside", "/", "link", "link/../outside", "loop", "..", "a\0b"])
def test_outside(tmp_path: Path, approved: Path, target: Path, path: str) -> None:
    write(tmp_path / "outside")
    (approved / "link").symlink_to(tmp_path / "outside")
    (approved / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="lora_path must lie inside") as refused:
        copy_adapter(approved / path, target, inside=approved)
    assert refused.value.param == "lora_path"
    assert not list(target.iterdir())


def test_outside_is_refused_whether_it_is_there_or_not(tmp_path: Path, approved: Path, target: Path) -> None:
    write(tmp_path / "there")
    messages = set()
    for name in ("there", "gone!"):
        with pytest.raises(UserError) as refused:
            copy_adapter(tmp_path / name, target, inside=approved)
        messages.add(refused.value.message.replace(name, ""))
    assert len(messages) == 1


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_file_that_links_outside(tmp_path: Path, approved: Path, target: Path, name: str) -> None:
    source = write(approved / "a")
    (source / name).unlink()
    (source / name).symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="lora_path must lie inside"):
        copy_adapter(source, target, inside=approved)


def test_a_step_that_becomes_a_link_after_the_look(
    tmp_path: Path, approved: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write below the approved folder swaps a folder for a link, just before it is opened."""
    outside = write(tmp_path / "outside", weights=b"secret")
    source = write(approved / "a")
    opened, real_open = [], os.open

    def racing_open(path: str | Path, flags: int, **options: int | None) -> int:
        if path == "a":
            source.rename(approved / "aside")
            source.symlink_to(outside)
        opened.append(path)
        return real_open(path, flags, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("os.open", racing_open)
    with pytest.raises(CheckpointError):
        copy_adapter(source, target, inside=approved)
    assert opened[-1] == "a"
    assert not list(target.iterdir())


def test_what_is_no_file(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "a")
    (source / CONFIG_FILE).unlink()
    os.mkfifo(source / CONFIG_FILE)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is not a file"):
        copy_adapter(source, target)


@pytest.mark.parametrize(
    ("config", "weights", "name"), [(b"{}", b"x" * 101, WEIGHTS_FILE), (b" " * (LARGEST_CONFIG + 1), b"", CONFIG_FILE)]
)
def test_too_large(tmp_path: Path, target: Path, config: bytes, weights: bytes, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is larger than"):
        copy_adapter(write(tmp_path / "a", config, weights), target)


def test_what_is_there_instead(tmp_path: Path, target: Path) -> None:
    folder = tmp_path / "a"
    for make, complaint in (
        (lambda: None, f"there is no folder {folder}"),
        (folder.mkdir, r"holds no adapter_config\.json, so it is no PEFT adapter"),
        (lambda: (folder / "config.json").write_text("{}"), "holds a whole checkpoint and no adapter"),
    ):
        make()
        with pytest.raises(CheckpointError, match=complaint):
            copy_adapter(folder, target)
    (folder / CONFIG_FILE).write_text("{}")
    for number, complaint in enumerate((r"holds no adapter_model\.safetensors", r"adapter_model\.bin is a pickle")):
        (into := target / str(number)).mkdir()
        with pytest.raises(CheckpointError, match=complaint):
            copy_adapter(folder, into)
        (folder / "adapter_model.bin").write_bytes(b"")
