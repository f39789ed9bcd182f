import pytest

from benchmarks.client import Outcome
from benchmarks.summary import Percentiles, markdown_table, ratio_table, summarize


def test_percentiles_interpolate_between_ranks():
    values = Percentiles.of([float(value) for value in range(1, 102)])
    assert (values.p50, values.p90, values.p99) == (51.0, 91.0, 100.0)
    assert Percentiles.of([1.0, 2.0]).p50 == 1.5


def test_no_values_have_no_percentiles():
    assert Percentiles.of([]) is None


def test_rates_count_what_succeeded_over_wall_time():
    outcomes = [
        Outcome(1.0, 0.2, 100, 30),
        Outcome(3.0, 0.4, 200, 30),
        Outcome(0.1, error="overloaded"),
        Outcome(0.1, error="overloaded"),
    ]
    summary = summarize("one", 2, outcomes, seconds=4.0)
    assert summary.requests_per_second == 0.5
    assert summary.output_tokens_per_second == 15.0
    assert summary.latency.p50 == 2.0
    assert summary.ttft.p50 == pytest.approx(0.3)
    assert (summary.prompt_tokens, summary.completion_tokens) == (150, 30)
    assert (summary.requests, summary.n_errors, summary.errors) == (4, 2, {"overloaded": 2})


def test_a_run_of_errors_alone_still_makes_a_row():
    summary = summarize("one", 1, [Outcome(0.1, error="refused")], seconds=1.0)
    assert markdown_table([summary]).splitlines()[-1] == "| one | 1 | 1 | 1 | 0.00 | 0.0 | 0 | - | - |"
    assert ratio_table([(summary, summary)]).splitlines()[-1] == "| 1 | - | - | - | - | - | - |"


def test_tables_have_as_many_cells_in_every_row():
    first = summarize("one", 4, [Outcome(1.0, 0.5, 10, 10)], seconds=1.0)
    second = summarize("two", 4, [Outcome(2.0, 0.25, 10, 10)], seconds=2.0)
    for table in (markdown_table([first, second]), ratio_table([(first, second)])):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert ratio_table([(first, second)]).splitlines()[-1] == "| 4 | 2.00 | 2.00 | 2.00 | 2.00 | 0.50 | 0.50 |"


def test_times_are_shown_in_milliseconds():
    table = markdown_table([summarize("one", 1, [Outcome(1.5, 0.25, 10, 10)], seconds=1.5)])
    assert "| 250 / 250 / 250 | 1500 / 1500 / 1500 |" in table
