import json

from benchmarks import evaluation
from tests.evaluation.running import live, scripted


def test_rates_are_measured_of_equal_passes(tmp_path, capsys):
    output = tmp_path / "rates.json"
    engine = scripted("A circle.")
    with live(engine) as base_url:
        options = ["--base-url", base_url, "--count", "2", "--rounds", "1", "--concurrency", "2"]
        assert evaluation.main([*options, "--output", str(output)]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert (found["task"], found["samples"]) == ("shapes-vqa", 2)
    assert found["times"] > 0
    # A pass to warm up, and one of each kind, none of which asks what another did.
    assert len({request.token_ids for request in engine.requests}) == len(engine.requests) == 6
    assert '"times"' in capsys.readouterr().out


def test_a_server_that_is_not_there_is_told(capsys):
    assert evaluation.main(["--base-url", "http://127.0.0.1:9/v1"]) == 1
    assert "cannot reach" in capsys.readouterr().err
