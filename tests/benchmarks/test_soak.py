import json
import os

from benchmarks.soak import bound_of, main, ticks_between
from tests.benchmarks.small_server import SmallServer, serving


def test_all_stretches_are_run_and_written_down(tmp_path, capsys):
    server, output = SmallServer(), tmp_path / "soak.json"
    with serving(server) as url:
        arguments = ["--base-url", url, "--pid", str(os.getpid()), "--output", str(output)]
        assert main([*arguments, "--streams", "8", "--requests", "40", "--stretches", "4", "--max-tokens", "3"]) == 0
    written = json.loads(output.read_text())
    rows = written["results"]
    assert (written["all"]["requests"], written["all"]["dropped"]) == (40, 0)
    assert [row["requests"] for row in rows] == [10, 20, 30, 40]
    assert all(row["dropped"] == 0 and row["server_mib"] > 1 for row in rows)
    assert all(row["lag_p99"] is None for row in rows)
    assert server.most_in_flight <= 8
    assert capsys.readouterr().out.count("\n") == 7


def test_what_is_dropped_is_counted(capsys):
    with serving(SmallServer(fails=frozenset({3}))) as url:
        assert main(["--base-url", url, "--streams", "2", "--requests", "6", "--stretches", "1"]) == 1
    assert "HTTP 429" in capsys.readouterr().err


def test_lag_of_a_stretch():
    before = {0.01: 5.0, 0.1: 8.0, float("inf"): 8.0}
    after = {0.01: 55.0, 0.1: 107.0, float("inf"): 108.0}
    lag = ticks_between(before, after)
    assert (bound_of(lag, 0.5), bound_of(lag, 0.99), bound_of(lag, 1.0)) == (0.01, 0.1, float("inf"))
    assert bound_of({}, 0.5) is None
