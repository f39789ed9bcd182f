"""Answers to splits without public annotations, in the formats their sites take."""

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from qwenvl.evaluation.results import Record, is_answered, read_records
from qwenvl.evaluation.settings import RunSettings
from qwenvl.evaluation.tasks.task import Submission, Task

_LETTERS = "ABCD"
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_submission(task: Task, results: Path, settings: RunSettings) -> Path:
    """Write what the task's site takes beside the results: its path."""
    assert task.submission is not None
    records = (record for record in read_records(results) if is_answered(record))
    if task.submission is Submission.MME:
        return _write_mme(records, settings.output / f"{task.name}.submission")
    if task.submission is Submission.MMBENCH:
        return _write_mmbench(records, settings.output / f"{task.name}.submission.xlsx")
    if task.submission is Submission.SEED:
        path = settings.output / f"{task.name}.submission.jsonl"
        lines = ({"question_id": _number(one["id"]), "prediction": one["prediction"][0]} for one in records)
        return _write(path, (json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    path = settings.output / f"{task.name}.submission.json"
    entry = _ENTRIES[task.submission]
    return _write(path, _array(entry(record) for record in records))


_ENTRIES: Mapping[Submission, Callable[[Record], Mapping[str, Any]]] = {
    Submission.VQA: lambda record: {"question_id": _number(record["id"]), "answer": record["prediction"]},
    Submission.VIZWIZ: lambda record: {"image": Path(record["images"][0]).name, "answer": record["prediction"]},
    Submission.DOCVQA: lambda record: {"questionId": _number(record["id"]), "answer": record["prediction"]},
    Submission.GQA: lambda record: {"questionId": record["id"], "prediction": _cleaned(record["prediction"])},
}


def _cleaned(prediction: str) -> str:
    from qwenvl.evaluation.metrics.exact import gqa_cleaned

    return gqa_cleaned(prediction)


def _number(id: str) -> int | str:
    """Sites compare ids as numbers, where they are."""
    return int(id) if id.isdecimal() and str(int(id)) == id else id


def _write(path: Path, pieces: Iterable[str]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(pieces)
    return path


def _array(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A JSON array, an element at a time."""
    before = "["
    for entry in entries:
        yield before + json.dumps(entry, ensure_ascii=False)
        before = ",\n"
    yield "]\n" if before != "[" else "[]\n"


def _write_mme(records: Iterable[Record], folder: Path) -> Path:
    """One text file a subtask: image, question, truth and answer between tabs."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.txt"):
        path.unlink()
    for record in records:
        answer = " ".join(record["prediction"].split())
        cells = (record["extra"]["image"], record["question"], record["target"], answer)
        with (folder / f"{record['extra']['subtask']}.txt").open("a", encoding="utf-8") as file:
            file.write("\t".join(cells) + "\n")
    return folder


def _write_mmbench(records: Iterable[Record], path: Path) -> Path:
    header = ("index", "question", *_LETTERS, "prediction")
    rows = (_mmbench_row(record) for record in records)
    return _write_sheet(path, header, rows)


def _mmbench_row(record: Record) -> Sequence[str]:
    choices = list(record["extra"]["choices"])[: len(_LETTERS)]
    question = record["question"].partition("\n")[0]
    return (record["id"], question, *choices, *[""] * (len(_LETTERS) - len(choices)), record["prediction"][0] or "")


_CONTENT_TYPES = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType=\
"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>\
<Override PartName="/xl/workbook.xml" ContentType=\
"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override \
PartName="/xl/worksheets/sheet1.xml" ContentType=\
"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>"""
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
_WORKBOOK = f"""<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/>\
</sheets></workbook>"""


def _write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """A workbook of one sheet of texts: what Office Open XML asks for, and no more."""
    book = f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    sheet = f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _RELATIONS.format(book))
        archive.writestr("xl/workbook.xml", _WORKBOOK)
        archive.writestr("xl/_rels/workbook.xml.rels", _RELATIONS.format(sheet))
        with archive.open("xl/worksheets/sheet1.xml", "w") as file:
            file.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            for row in (header, *rows):
                file.write(f"<row>{''.join(map(_cell, row))}</row>".encode())
            file.write(b"</sheetData></worksheet>")
    return path


def _cell(value: str) -> str:
    text = escape(_NOT_IN_XML.sub("", str(value)))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
