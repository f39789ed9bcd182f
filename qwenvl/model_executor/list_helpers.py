"""The original tokenizer's helpers for pictures and boxes, under the names that users' scripts call them by."""

from collections.abc import Mapping, Sequence
from typing import Any

import PIL.Image

from qwenvl.grounding import boxes_with_refs, draw_findings, from_list_format, parse, to_list_format
from qwenvl.model_executor.history import History, turns_of
from qwenvl.model_executor.picture_files import open_picture


class ListHelpers:
    """Prompts and answers as lists of pieces, and boxes drawn on the picture that they speak of."""

    def from_list_format(self, list_format: Sequence[Mapping[str, Any]]) -> str:
        """See :func:`qwenvl.grounding.from_list_format`."""
        return from_list_format(list_format)

    def to_list_format(self, text: str) -> list[dict[str, str]]:
        """See :func:`qwenvl.grounding.to_list_format`."""
        return to_list_format(text)

    def draw_bbox_on_latest_picture(self, response: str, history: History | None = None) -> PIL.Image.Image | None:
        """The latest picture with an answer's boxes and phrases drawn on it.

        Args:
            response: the answer. Without a history, as a base model's output, it holds its picture too.
            history: queries and answers so far; the picture is the last one of the latest query that has one. What the
                model's answers name is not opened.

        Returns:
            RGB, the pixels as the file holds them: boxes were found on those, whatever EXIF says is up. None where
            there is no picture, or no box in the answer.

        Raises:
            ImageError: the picture cannot be opened any more.
            UserError: the history is malformed.
        """
        findings = [finding for finding in parse(response).findings if finding.boxes or finding.quads]
        location = self._fetch_latest_picture(response, history)
        if location is None or not findings:
            return None
        return draw_findings(open_picture(location), findings)

    def _fetch_latest_picture(self, response: str, history: History | None) -> str | None:
        """Path or URL of the picture that an answer speaks of."""
        turns = turns_of(history)
        for text in [query for query, _ in reversed(turns)] if turns else [response]:
            for item in reversed(to_list_format(text)):
                if "image" in item and (location := item["image"].strip()):
                    return location
        return None

    def _fetch_all_box_with_ref(self, text: str) -> list[dict[str, Any]]:
        """See :func:`qwenvl.grounding.boxes_with_refs`."""
        return boxes_with_refs(text)
