"""``docs/configuration.md`` is the settings as they are."""

import argparse

import pytest

from qwenvl import cli
from qwenvl.api import Settings
from scripts.settings_table import PAGE, table, with_table


def test_the_table_is_the_settings() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run python -m scripts.settings_table"


def test_the_table_names_every_option() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    cli._add_settings(parser)
    options = {action.option_strings[0] for action in parser._actions}
    named = {cell.strip(" `") for line in table().splitlines()[2:] for cell in line.split("|")[2:3]}
    assert named == options


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cli.variable_of(name), "given")
    assert list(cli._environment()) == [name]
