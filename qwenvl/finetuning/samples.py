"""From a rendered conversation to what the model trains on: token ids with image positions, and labels."""

from qwenvl.chat import Rendered

IGNORED_LABEL = -100
"""Not to be learned: the loss of torch passes over it."""


def expand_images(
    rendered: Rendered, tokens_per_image: int, image_start: int, image_pad: int
) -> tuple[list[int], list[int]]:
    """Token ids with every image's positions in place, and the label of each: its own id, or :data:`IGNORED_LABEL`.

    Args:
        rendered: a conversation with ``label_spans``.
        tokens_per_image: positions between ``<img>`` and ``</img>``.
        image_start: id of ``<img>``.
        image_pad: id that fills an image's positions; the model puts the image's vectors there.
    """
    learned = [False] * len(rendered.token_ids)
    for start, end in rendered.label_spans:
        learned[start:end] = [True] * (end - start)
    token_ids: list[int] = []
    labels: list[int] = []
    for token_id, is_answer in zip(rendered.token_ids, learned, strict=True):
        token_ids.append(token_id)
        labels.append(token_id if is_answer else IGNORED_LABEL)
        if token_id == image_start:
            token_ids += [image_pad] * tokens_per_image
            labels += [IGNORED_LABEL] * tokens_per_image
    return token_ids, labels
