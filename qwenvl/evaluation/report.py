"""Results for people: a table in Markdown, and a page of its own with plots and what was wrong."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from qwenvl.errors import UserError
from qwenvl.evaluation.results import is_answered, read_records
from qwenvl.evaluation.summary import read_summaries
from qwenvl.evaluation.wrong_answers import Wrong, wrong_answers

_BINS = 10
_BAR_PIXELS = 420
_MARKDOWN = frozenset("\\`*_[]|#")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2024 }
table { border-collapse: collapse } td, th { border-bottom: 1px solid #d8dce0; padding: .3rem .7rem; text-align: left }
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem }
.wrong figure { border: 1px solid #d8dce0; border-radius: 6px; margin: 0; padding: .7rem; overflow-wrap: anywhere }
.wrong img { max-width: 100%; height: auto } figcaption { white-space: pre-wrap }
.warning { color: #a01818; font-weight: 600 } svg text { font: 12px system-ui, sans-serif }
"""


def write_report(output: Path, data: Path | None) -> tuple[Path, Path]:
    """Write ``report.md`` and ``report.html`` of a directory of results.

    Args:
        output: the directory.
        data: of the tasks' files, for the pictures; None shows none.

    Raises:
        UserError: there are no results.
    """
    summaries = read_summaries(output)
    if not summaries:
        raise UserError(f"{output} has no summary of a finished run")
    markdown, page = output / "report.md", output / "report.html"
    markdown.write_text("\n".join(_markdown(summaries)) + "\n", encoding="utf-8")
    with page.open("w", encoding="utf-8") as file:
        file.writelines(_page(summaries, output, data))
    return markdown, page


def _markdown(summaries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "# Evaluation\n"
    yield "| task | model | metric | score | samples | published |"
    yield "| --- | --- | --- | --: | --: | --- |"
    for one in summaries:
        cells = (one["title"], one["settings"]["model"], one["metric"], _score(one), _covered(one), _published(one))
        yield f"| {' | '.join(map(_cell, cells))} |"
    for one in summaries:
        yield from _markdown_details(one)


def _markdown_details(summary: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {summary['title']}\n"
    yield f"Commit {summary['commit']}, {summary['date']}, {_settings(summary)}."
    if summary["note"]:
        yield f"\n{summary['note']}."
    if summary["groups"]:
        yield "\n| part | score |\n| --- | --: |"
        yield from (f"| {name} | {value:.2f} |" for name, value in summary["groups"].items())
    for flaw, count in summary["flaws"].items():
        yield f"\n{flaw}: {count}"
    yield from (f"- {_cell(name)}" for name in summary["named"])


def _cell(text: str) -> str:
    """Text for Markdown, a model's name or a file's: nothing of it is markup, and no pipe ends its cell."""
    escaped = "".join(f"\\{sign}" if sign in _MARKDOWN else sign for sign in text)
    return escape(escaped, quote=False)


def _score(summary: Mapping[str, Any]) -> str:
    """A mark stands at what is not the score of the whole split."""
    if (score := summary["score_of_covered"]) is None:
        return "-"
    return f"{score:.2f}" + ("" if summary["complete"] else " (!)")


def _covered(summary: Mapping[str, Any]) -> str:
    return f"{summary['covered']} of {summary['of']}" + ("" if summary["complete"] else ", not the whole")


def _published(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in summary["published"].items()) or "-"


def _settings(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in summary["settings"].items() if value is not None)


def _page(summaries: Sequence[Mapping[str, Any]], output: Path, data: Path | None) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evaluation</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>Evaluation</h1>\n<table>"
    yield "<tr><th>Task<th>Model<th>Metric<th>Score<th>Samples<th>Published</tr>\n"
    for one in summaries:
        cells = (one["title"], one["settings"]["model"], one["metric"], _score(one), _covered(one), _published(one))
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"
    yield "</table>\n"
    for one in summaries:
        yield from _section(one, output / f"{one['task']}.jsonl", data)
    yield "</body></html>\n"


def _section(summary: Mapping[str, Any], results: Path, data: Path | None) -> Iterator[str]:
    yield f"<h2>{escape(summary['title'])}</h2>\n"
    yield f"<p>{escape(_settings(summary))}; commit {escape(str(summary['commit']))}</p>\n"
    if not summary["complete"]:
        yield f'<p class="warning">{escape(_covered(summary))}: this is not the score of the whole split.</p>\n'
    if summary["score_of_covered"] is not None:
        yield _bars({"measured": summary["score_of_covered"], **summary["published"]})
    if summary["groups"]:
        yield _bars(summary["groups"])
    if named := summary["named"]:
        yield f"<ul>{''.join(f'<li>{escape(name)}</li>' for name in named)}</ul>\n"
    if not results.is_file():
        return
    yield _histogram(results)
    wrong = list(wrong_answers(summary["task"], results, data))
    if wrong:
        yield f'<h3>Lowest scores</h3>\n<div class="wrong">{"".join(map(_figure, wrong))}</div>\n'


def _figure(wrong: Wrong) -> str:
    pictures = "".join(f'<img alt="" src="{escape(url)}">' for url in wrong.pictures)
    said = f"{wrong.id}\n{wrong.question}\n\nsaid: {wrong.prediction}\nright: {wrong.target}\nscore: {wrong.score:.2f}"
    return f"<figure>{pictures}<figcaption>{escape(said)}</figcaption></figure>\n"


def _bars(values: Mapping[str, float]) -> str:
    """A horizontal bar each, the longest as wide as there is room."""
    longest = max((abs(value) for value in values.values()), default=0) or 1
    rows = []
    for place, (name, value) in enumerate(values.items()):
        y, width = 22 * place, _BAR_PIXELS * max(value, 0) / longest
        colour = "#2f6fd0" if place == 0 else "#9aa8b8"
        rows.append(
            f'<text x="190" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="200" y="{y + 3}" width="{width:.1f}" height="16" fill="{colour}"/>'
            f'<text x="{206 + width:.1f}" y="{y + 15}">{round(value, 2):.8g}</text>'
        )
    return f'<svg role="img" width="{_BAR_PIXELS + 280}" height="{22 * len(values) + 6}">{"".join(rows)}</svg>\n'


def _histogram(results: Path) -> str:
    """How many samples have which score, as bars; nothing where none has one."""
    scores = [
        record["score"] for record in read_records(results) if is_answered(record) and record["score"] is not None
    ]
    if not scores:
        return ""
    top = max(1.0, *scores) if len(scores) > 1 else max(1.0, scores[0])
    counts = [0] * _BINS
    for score in scores:
        counts[min(_BINS - 1, int(_BINS * score / top))] += 1
    named = {f"{top * i / _BINS:.4g} to {top * (i + 1) / _BINS:.4g}": float(count) for i, count in enumerate(counts)}
    return f"<h3>Samples by score</h3>\n{_bars(named)}"
