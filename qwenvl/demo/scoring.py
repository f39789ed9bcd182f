"""Scores of a checkpoint through transformers: ``python -m qwenvl.demo.scoring DIR``."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from qwenvl.chat import VOCABULARY_FILE, Image, Message, Vocabulary, render_chatml
from qwenvl.demo.drawing import draw
from qwenvl.demo.scores import Probe, probes, score, table
from qwenvl.finetuning.samples import expand_images
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.image_processor import resize_image
from qwenvl.model_executor.modeling import QWenLMHeadModel

PICTURE_SIZE = 448


@torch.inference_mode()
def answer(
    model: QWenLMHeadModel, vocabulary: Vocabulary, asked: Sequence[Probe], max_new_tokens: int = 150
) -> list[str]:
    """Greedy answers to one batch of questions."""
    vision = model.config.vision
    assert vision is not None
    prompts: list[list[int]] = []
    pixels = []
    for probe in asked:
        rendered = render_chatml([Message.of("user", *map(Image, probe.scenes), probe.turn.question)], vocabulary)
        prompts.append(expand_images(rendered, vision.n_queries, vision.image_start_id, vocabulary.image_pad)[0])
        pixels += [resize_image(draw(scene, PICTURE_SIZE), vision.image_size) for scene in probe.scenes]
    longest = max(map(len, prompts))
    ids = torch.tensor([[vocabulary.end_of_text] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    generated = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        pixel_values=torch.stack(pixels).to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=list(vocabulary.stop_ids),
        pad_token_id=vocabulary.end_of_text,
    )
    return [vocabulary.decode(row.tolist(), skip_control=True) for row in generated[:, longest:]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--count", type=int, default=200, help="questions a row")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--output", type=Path, help="JSON of the scores")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    model = QWenLMHeadModel.from_pretrained(args.checkpoint, config=QWenConfig.from_pretrained(args.checkpoint))
    model.bfloat16().train(False)
    if torch.cuda.is_available():
        model.cuda()
    vocabulary = Vocabulary.from_file(args.checkpoint / VOCABULARY_FILE)
    found = probes(args.count)
    answers: list[str] = []
    for start in range(0, len(found), args.batch_size):
        answers += answer(model, vocabulary, found[start : start + args.batch_size])
    scores = score(found, answers)
    logging.info("\n%s", table(scores))
    wrong = [
        (p.row, p.turn.question, p.turn.answer, a) for p, a in zip(found, answers, strict=True) if a != p.turn.answer
    ]
    for row in sorted({row for row, *_ in wrong}):
        for _, question, right, said in [w for w in wrong if w[0] == row][:3]:
            logging.info("%s: %r wanted %r got %r", row, question, right, said)
    if args.output:
        args.output.write_text(json.dumps(scores, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
