"""Results of a run on the disk: a log that survives being killed, and the file that is made of it.

Each answer is a line of the log as soon as it is there, in no order. A run that is started again reads there which
samples are done. At the end the lines are written by their place in the input, so that the file does not depend on how
often, and where, the run was killed.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qwenvl.errors import UserError
from qwenvl.evaluation.disk_table import DiskTable

Record = dict[str, Any]


class Results:
    """The files of one task in an output directory.

    Args:
        folder: the output directory; made where it is missing.
        name: of the task.
        fingerprint: what the answers depend on.
        restart: forget earlier results.

    Raises:
        UserError: there are results of other settings.
    """

    def __init__(self, folder: Path, name: str, fingerprint: Mapping[str, Any], *, restart: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        self.log_path = folder / f"{name}.log.jsonl"
        self._settings_path = folder / f"{name}.settings.json"
        self._done = DiskTable()
        if restart:
            for path in (self.path, self.log_path, self._settings_path):
                path.unlink(missing_ok=True)
        self._check_settings(fingerprint)
        self._recover()
        self._log = self.log_path.open("a", encoding="utf-8")

    def is_done(self, id: str) -> bool:
        """Whether a sample has its answer from an earlier run."""
        return id in self._done

    @property
    def done(self) -> int:
        return len(self._done)

    def add(self, record: Record) -> None:
        """Keep one more; it is on its way to the disk when this returns."""
        self._log.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._log.flush()

    def finish(self, complete: Callable[[DiskTable], Mapping[str, float]]) -> None:
        """Write the results in the order of the input, and remove the log.

        Args:
            complete: scores by place that only all results together give.
        """
        self._log.close()
        with DiskTable() as records:
            # Of several records of a sample the last one counts: it failed, and was asked again.
            for record in read_records(self.log_path):
                records.put(_place(record), json.dumps(record, ensure_ascii=False))
            scores = complete(records)
            written = self.path.with_suffix(".tmp")
            with written.open("w", encoding="utf-8") as file:
                for place, text in records.items():
                    if place in scores:
                        text = json.dumps({**json.loads(text), "score": scores[place]}, ensure_ascii=False)
                    file.write(text + "\n")
            os.replace(written, self.path)
        self.log_path.unlink()
        self._done.close()

    def close(self) -> None:
        """Leave the log for another run."""
        self._log.close()
        self._done.close()

    def _check_settings(self, fingerprint: Mapping[str, Any]) -> None:
        wanted = json.dumps(fingerprint, sort_keys=True)
        if not self._settings_path.exists():
            self._settings_path.write_text(wanted + "\n", encoding="utf-8")
            return
        before = self._settings_path.read_text(encoding="utf-8").strip()
        if before != wanted:
            raise UserError(
                f"{self.path.parent} has results of other settings ({before}): give another --output, or --restart"
            )

    def _recover(self) -> None:
        """A log of what is done, out of an earlier one that may end within a line, and an earlier run's results."""
        recovered = self.log_path.with_suffix(".tmp")
        with recovered.open("w", encoding="utf-8") as file:
            for path in (self.path, self.log_path):
                for record in read_records(path) if path.exists() else ():
                    if is_answered(record) and self._done.add(record["id"]):
                        file.write(json.dumps(record, ensure_ascii=False) + "\n")
        os.replace(recovered, self.log_path)


def is_answered(record: Record) -> bool:
    """Whether a record is a result, and not why there is none."""
    return "flaw" not in record


def read_records(path: Path) -> Iterator[Record]:
    """Records of a file of results; a line that was cut off is left out."""
    # As bytes: what is cut off may end within a character.
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _place(record: Record) -> str:
    """Sorts as the numbers do."""
    return f"{record['index']:012d}"
