import json

import pytest

from benchmarks.serving import main
from tests.benchmarks.small_server import SmallServer, serving


def run(url, tmp_path, *options):
    output = tmp_path / "results" / "run.json"
    arguments = ["--base-url", url, "--prompt-tokens", "50", "--max-tokens", "6", "--output", str(output), *options]
    return main(arguments), json.loads(output.read_text())


def test_every_level_is_run_and_written_down(tmp_path, capsys):
    server = SmallServer()
    with serving(server) as url:
        status, result = run(url, tmp_path, "--concurrency", "1,4", "--requests", "12", "--warmup", "2")
    assert status == 0
    assert [(level["concurrency"], level["requests"]) for level in result["results"]] == [(1, 12), (4, 12)]
    assert all(level["prompt_tokens"] == 50 and level["completion_tokens"] == 6 for level in result["results"])
    assert all(level["ttft"]["p50"] <= level["latency"]["p50"] for level in result["results"])
    assert result["servers"] == [{"label": "qwenvl", "model": "small", "version": {"small": "1.0"}}]
    assert result["settings"]["words"] == 30
    assert "model" not in result["settings"]
    assert result["cores"] >= 1
    assert len(server.bodies) == 2 + 2 * (12 + 2)
    assert 1 < server.most_in_flight <= 4
    assert capsys.readouterr().out.count("\n| qwenvl |") == 2


def test_no_request_is_sent_twice(tmp_path):
    server = SmallServer()
    with serving(server) as url:
        run(url, tmp_path, "--concurrency", "2", "--requests", "6", "--rounds", "2", "--images", "distinct",
            "--image-size", "64", "--prompt-tokens", "300")  # fmt: skip
    sent = [json.dumps(body["messages"]) for body in server.bodies]
    assert len(sent) == len(set(sent)) == 2 + 2 * (6 + 4)


def test_whole_answers_have_no_first_token_time(tmp_path):
    with serving(SmallServer()) as url:
        _, result = run(url, tmp_path, "--concurrency", "2", "--requests", "4", "--no-stream")
    assert result["results"][0]["ttft"] is None
    assert result["results"][0]["errors"] == {}


def test_errors_are_counted_and_change_the_exit_status(tmp_path, capsys):
    # The first two requests calibrate, none warms up.
    with serving(SmallServer(fails=frozenset({4, 5}))) as url:
        status, result = run(url, tmp_path, "--concurrency", "1", "--requests", "5", "--warmup", "0")
    assert status == 1
    [(message, count)] = result["results"][0]["errors"].items()
    assert "429" in message
    assert count == 2
    assert "2 x HTTP 429" in capsys.readouterr().err


def test_two_servers_take_the_same_requests(tmp_path, capsys):
    ours, theirs = SmallServer("a"), SmallServer("b")
    with serving(ours) as url, serving(theirs) as pair:
        status, result = run(url, tmp_path, "--pair", pair, "--concurrency", "2", "--requests", "4", "--warmup", "1")
    assert status == 0
    assert [level["server"] for level in result["results"]] == ["qwenvl", "pair"]
    assert {body["model"] for body in ours.bodies} == {"a"}
    assert {body["model"] for body in theirs.bodies} == {"b"}
    timed = [body["messages"] for body in ours.bodies[2:]]
    assert sorted(map(json.dumps, timed)) == sorted(json.dumps(body["messages"]) for body in theirs.bodies)
    assert "qwenvl / pair:" in capsys.readouterr().out


def test_the_key_is_sent(tmp_path):
    server = SmallServer()
    with serving(server) as url:
        run(url, tmp_path, "--concurrency", "1", "--requests", "1", "--warmup", "0", "--api-key", "secret")
    assert server.authorization == {"Bearer secret"}


def test_a_prompt_that_cannot_be_so_short_is_refused(tmp_path):
    with serving(SmallServer()) as url, pytest.raises(SystemExit, match="--prompt-tokens 5"):
        main(["--base-url", url, "--prompt-tokens", "5"])


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match=r"127\.0\.0\.1:9 does not answer"):
        main(["--base-url", "http://127.0.0.1:9"])
