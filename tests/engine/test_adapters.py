from pathlib import Path

import pytest

from qwenvl.engine import Adapter, AdapterSource
from qwenvl.engine.adapters import AdapterTable, Served, check_name, read_source, unfit
from qwenvl.errors import CheckpointError, ModelNotFoundError, UserError


def served(table: AdapterTable, name: str) -> Served:
    return Served(Adapter(name, 8, 0), table.new_number(), Path("somewhere"))


def test_names() -> None:
    for name in ("a", "team/adapter", "v1.2:latest", "A-b_c/d.e"):
        assert check_name(name) == name
    for name in ("", "/a", "a/", "a//b", "a/../b", ".a", "a b", "a\n", "a#1", "a=b", "ä", "a" * 129):
        with pytest.raises(UserError, match="The name of an adapter has"):
            check_name(name)


def test_sources() -> None:
    assert read_source("a/b=/some/where=else") == AdapterSource("a/b", Path("/some/where=else"))
    for text in ("a", "a=", "=b", "/some/where"):
        with pytest.raises(UserError):
            read_source(text)


def code_of(table: AdapterTable, name: str, *, replace: bool = False) -> str | None:
    """Why nothing can be loaded under this name."""
    with pytest.raises(UserError) as refused, table.loading(name, ["model"], replace=replace):
        pass
    return refused.value.code


def test_names_and_room() -> None:
    table = AdapterTable(2)
    with table.loading("a", ["model"]):
        assert code_of(table, "a", replace=True) == "adapter_exists"
        table.put(served(table, "a"))
    assert code_of(table, "a") == "adapter_exists"
    assert code_of(table, "model", replace=True) == "adapter_exists"
    with table.loading("b", ["model"]):
        assert code_of(table, "c") == "adapter_in_use"
    with table.loading("b", ["model"]):
        table.put(served(table, "b"))
    assert code_of(table, "c") == "too_many_adapters"
    with table.loading("a", ["model"], replace=True):
        pass


def test_what_is_leaving_takes_room() -> None:
    """The engine has room for one more than there may be: for the adapter that another one replaces."""
    table = AdapterTable(1)
    first = served(table, "a")
    table.put(first)
    with table.loading("a", [], replace=True):
        assert table.put(served(table, "a")) is first
    assert code_of(table, "a", replace=True) == "adapter_in_use"
    table.remove("a")
    assert code_of(table, "b") == "adapter_in_use"
    table.left(first)
    assert code_of(table, "b") == "adapter_in_use"


def test_what_is_quoted_is_cut_and_can_be_written() -> None:
    message = str(unfit("a", CheckpointError("file: \ud800" + "x" * 100_000 + " is wrong")))
    assert len(message) < 1100
    assert message.startswith("adapter 'a': file: ")
    assert message.endswith(" is wrong")
    message.encode()


def test_replaced_and_removed_while_used() -> None:
    table = AdapterTable(4)
    first, second = served(table, "a"), served(table, "a")
    assert table.put(first) is None
    with table.used("a") as used, table.used("a"):
        assert used is first
        assert table.put(second) is first
        with table.used("a") as now:
            assert now is second
        assert second.idle.is_set()
        assert not first.idle.is_set()
        assert table.remove("a") is second
        assert not table.adapters
    assert first.idle.is_set()
    assert first.number != second.number
    with pytest.raises(ModelNotFoundError), table.used("a"):
        pass
    with pytest.raises(UserError, match="There is no adapter 'a' here"):
        table.remove("a")
    with table.used(None) as nothing:
        assert nothing is None
