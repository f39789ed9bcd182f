import json
import re
from html.parser import HTMLParser

from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.tasks.catalogue import TASKS
from tests.evaluation.layouts import picture, write_lines, write_task
from tests.evaluation.running import live, run, scripted


def reported(data, output):
    assert evaluate(["--report", "--data", str(data), "--output", str(output)]) == 0
    return (output / "report.md").read_text(encoding="utf-8"), (output / "report.html").read_text(encoding="utf-8")


def test_measured_beside_published_with_wrong_boxes(tmp_path):
    write_task(TASKS["refcoco-val"], tmp_path)
    with live(scripted("(0,0),(999,999)</box>")) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "refcoco-val")
    markdown, page = reported(tmp_path, tmp_path / "out")
    assert "| RefCOCO val | tiny | IoU &gt;= 0.5 | 33.33 | 3 of 3 | Qwen-VL 89.36, Qwen-VL-Chat 88.55 |" in markdown
    assert page.count("<figure>") == 2
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "33.33" in page
    assert "<svg" in page


def test_nothing_of_data_or_answers_is_markup(tmp_path):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>"
    line = {"image": picture(tmp_path, "1.png"), "question": evil, "question_id": evil, "answer": evil + "!"}
    write_lines(tmp_path / TASKS["ai2d"].samples, [line, line | {"question_id": f"2{evil}", "image": evil}])
    with live(scripted("</figcaption><b>x")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", "ai2d") == 1
    markdown, page = reported(tmp_path, tmp_path / "out")
    assert "1 of 2, not the whole" in markdown
    assert "<" not in markdown
    tags = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Tags().feed(page)
    assert not {"script", "b"} & {tag for tag, _ in tags}
    assert all(attributes["src"].startswith("data:") for tag, attributes in tags if tag == "img")
    assert not re.findall(r"(?:href|src)=\"(?!data:)", page)
    assert "this is not the score of the whole split" in page


def test_results_without_their_data_are_reported_without_pictures(tmp_path):
    write_task(TASKS["mme"], tmp_path)
    with live(scripted("no")) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "mme")
    assert evaluate(["--report", "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<figure>" in page
    assert "<img" not in page
    summary = json.loads((tmp_path / "out" / "mme.summary.json").read_text(encoding="utf-8"))
    assert all(f">{name}</text>" in page for name in summary["groups"])
