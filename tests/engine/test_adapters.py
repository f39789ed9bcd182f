from pathlib import Path

import pytest

from qwenvl.engine import Adapter, AdapterSource
from qwenvl.engine.adapters import AdapterTable, Served, check_name, read_source
from qwenvl.errors import ModelNotFoundError, UserError


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


def test_what_is_free() -> None:
    table = AdapterTable()
    table.check_free("a", ["model"], capacity=1, replace=False)
    table.put(served(table, "a"))
    for name, status, code in (("a", 409, "adapter_exists"), ("b", 400, "too_many_adapters"), ("model", 409, None)):
        with pytest.raises(UserError) as refused:
            table.check_free(name, ["model"], capacity=1, replace=False)
        assert refused.value.status == status
        assert code in (None, refused.value.code)
    table.check_free("a", ["model"], capacity=1, replace=True)
    with pytest.raises(UserError):
        table.check_free("model", ["model"], capacity=9, replace=True)


def test_replaced_and_removed_while_used() -> None:
    table = AdapterTable()
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
