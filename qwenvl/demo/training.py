"""How the small model is trained from scratch: ``python -m qwenvl.demo.training --output DIR``.

Everything is learned at once, on endless synthetic scenes. What makes it quick: a resampler that starts out looking at
each query's own place (:func:`place_queries`), heads on its output that tell what is at each patch while the language
model learns to ask (:class:`PatchHeads`, dropped afterwards), and Muon.
"""

import argparse
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import regex
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from qwenvl.chat import VOCABULARY_FILE, Text, Vocabulary
from qwenvl.demo.optimizer import MuonAndAdamW
from qwenvl.demo.samples import SIGNS, Layout, SceneSamples, random_sample
from qwenvl.demo.scenes import COLOURS, SHAPES, Mix
from qwenvl.demo.vocabulary import corpus, train_vocabulary
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.modeling import QWenLMHeadModel
from qwenvl.model_executor.vision import VisionTransformer, sincos_grid

logger = logging.getLogger(__name__)

N_RANKS = 1024

VOCAB_SIZE = 1280
"""Ranks and special tokens, padded to a multiple of 128 as the released models' is."""

PATCH_WEIGHT = 0.3
"""Of the patch heads' loss beside that of the answers."""

LENGTH = 416
"""Token positions of a training sample; the few conversations that are longer are drawn again."""


_CAPITALS = regex.compile(r"[A-Z]{2,}|\b[A-Z]\b")


def demo_vocabulary() -> Vocabulary:
    """The small model's vocabulary, learned from the corpus and from conversations about scenes.

    Words in capitals, which are read off pictures, are kept out: each letter stays a token of its own, so that a word
    never seen can be spelled.
    """
    rng = Random(0)
    said = [
        _CAPITALS.sub("", part.text)
        for _ in range(3000)
        for message in random_sample(rng, Mix(), 6).messages
        for part in message.parts
        if isinstance(part, Text)
    ]
    return train_vocabulary("\n".join([corpus() * 3, *said]), N_RANKS)


def model_config(vocabulary: Vocabulary) -> QWenConfig:
    """Sizes of the small model: 6.4 million parameters, 12.8 MB in bfloat16; what two cores can train in hours."""
    return QWenConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        kv_channels=64,
        intermediate_size=1536,
        train_length=2048,
        max_position_embeddings=8192,
        visual={
            "image_size": 224,
            "patch_size": 14,
            "width": 192,
            "layers": 4,
            "heads": 3,
            "mlp_ratio": 4.0,
            "output_dim": 256,
            "n_queries": 64,
            "image_start_id": vocabulary.image_start,
        },
    )


@torch.no_grad()
def place_queries(visual: VisionTransformer) -> None:
    """Let each query of the resampler start out at its own place, and each patch know where it is.

    At the usual initialisation the resampler attends to all patches alike, has no residual, and so gives the same
    vector for every query: telling them apart is what takes long to learn. Here queries are nearly pure position, and
    the projections of queries and keys pass the fast channels of the position table on, enlarged.
    """
    pool, width = visual.attn_pool, visual.config.output_dim
    visual.positional_embedding.copy_(sincos_grid(len(visual.positional_embedding), visual.config.width))
    pool.query.normal_(std=0.02)
    pool.ln_q.weight.fill_(0.1)
    head_size = width // visual.config.resampler_heads
    fast = head_size // 8
    quarter = width // 4
    # Sines, cosines of columns, then of rows: the first channels of each are the fastest.
    channels = torch.cat([torch.arange(start, start + fast) for start in range(0, width, quarter)])
    # What is seen there must not drown where it is.
    pool.ln_kv.weight[channels] = 0.1
    for part in range(2):
        weight = pool.attn.in_proj_weight[part * width : (part + 1) * width]
        weight.normal_(std=0.02)
        for head in range(visual.config.resampler_heads):
            rows = head * head_size + torch.arange(len(channels))
            weight[rows, channels] += 3.0


class PatchHeads(nn.Module):
    """What is at each patch, told from the resampler's output: four patches to a query.

    Without them the resampler learns what it should pass on only once the language model asks for it, and the language
    model has nothing to ask for until then.
    """

    def __init__(self, config: QWenConfig) -> None:
        super().__init__()
        assert config.vision is not None
        self.sizes = (len(SHAPES) + 2, len(COLOURS) + 1, len(SIGNS) + 1, 4)
        self.side = math.isqrt(config.vision.n_queries)
        self.fold = config.vision.grid // self.side
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, self.fold**2 * sum(self.sizes))

    def forward(self, vectors_NQE: Tensor, kinds_NP3: Tensor, boxes_NP4: Tensor) -> Tensor:
        side, fold = self.side, self.fold
        told = self.head(self.norm(vectors_NQE.float()))
        # (query row, query column, row inside, column inside) to (row, column) of the patch.
        told = told.view(-1, side, side, fold, fold, sum(self.sizes)).transpose(2, 3).flatten(1, 4)
        *kinds, boxes = told.split(self.sizes, dim=-1)
        loss: Tensor = torch.zeros((), device=told.device)
        for i, logits in enumerate(kinds):
            loss = loss + F.cross_entropy(logits.flatten(0, 1), kinds_NP3[..., i].flatten())
        inside = (kinds_NP3[..., 0] > 0).unsqueeze(-1)
        off = (boxes.sigmoid() - boxes_NP4).abs() * inside
        box_loss: Tensor = off.sum() / inside.sum().clamp(min=1) / 4
        return loss + 5 * box_loss


class SmallModelTrainer(Trainer):
    """The loop of transformers over endless batches, with the loss of the patch heads added.

    Args:
        patch_heads: registered with the model as ``auxiliary`` while it trains.
        vision_steps: steps at the start that train the visual encoder alone, on the heads' loss; several times as
            fast, and what the language model then looks at is worth asking about.
        patch_share: then the heads' loss counts less and less, and nothing from this share of the steps on.
    """

    def __init__(
        self,
        model: QWenLMHeadModel,
        *,
        patch_heads: PatchHeads,
        vision_steps: int,
        patch_share: float,
        workers: int,
        **kwargs: Any,
    ):
        super().__init__(model, **kwargs)
        self.patch_heads = patch_heads
        self.vision_steps = vision_steps
        self.patch_share = patch_share
        self.workers = workers
        self._vectors: list[Tensor] = []
        self.visual = model.transformer.visual
        self.visual.register_forward_hook(lambda _, __, output: self._vectors.append(output))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as the samples' workers make them."""
        assert self.train_dataset is not None
        return DataLoader(
            self.train_dataset,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=2 if self.workers else None,
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Of the answers, and at first of the patches."""
        kinds, boxes = inputs.pop("patch_kinds"), inputs.pop("patch_boxes")
        step = self.state.global_step
        answers = torch.zeros((), device=kinds.device)
        if step < self.vision_steps:
            with self.accelerator.autocast():
                self.visual(inputs["pixel_values"])
        else:
            loss = super().compute_loss(model, inputs, *args, **kwargs)
            assert isinstance(loss, Tensor)
            answers = loss
        vectors = self._vectors.pop()
        if not len(vectors):
            return answers + vectors.sum()
        joint_steps = self.patch_share * self.state.max_steps - self.vision_steps
        weight = 1 - max(0, step - self.vision_steps) / max(1.0, joint_steps)
        patches: Tensor = self.patch_heads(vectors, kinds, boxes)
        if step % 50 == 0:
            logger.info("step %d: answers %.4f, patches %.4f", step, answers.detach(), patches.detach())
        return answers + PATCH_WEIGHT * max(0.0, weight) * patches


def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    vocabulary = demo_vocabulary()
    args.output.mkdir(parents=True, exist_ok=True)
    vocabulary.save(args.output / VOCABULARY_FILE)
    torch.manual_seed(args.seed)
    config = model_config(vocabulary)
    assert config.vision is not None
    model = QWenLMHeadModel(config)
    place_queries(model.transformer.visual)
    logger.info("%.2f million parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    heads = PatchHeads(config)
    model.auxiliary = heads
    if args.compile:
        for block in [*model.transformer.h, *model.transformer.visual.transformer.resblocks]:
            block.compile()
    training = TrainingArguments(
        output_dir=str(args.output / "checkpoints"),
        max_steps=args.steps,
        learning_rate=args.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(args.steps * 0.35), "decay_type": "cosine"},
        warmup_steps=min(300, args.steps // 10),
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        tf32=torch.cuda.is_available(),
        logging_steps=50,
        save_steps=args.save_steps,
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        seed=args.seed,
        ignore_data_skip=True,
        disable_tqdm=True,
        save_only_model=args.no_resume,
    )
    # After a resume the samples are new ones.
    resumed = _last_step(args.output / "checkpoints") if not args.no_resume else 0
    layout = Layout(config.vision, LENGTH)
    samples = SceneSamples(str(args.output / VOCABULARY_FILE), layout, args.batch_size, args.seed + resumed)
    trainer = SmallModelTrainer(
        model=model,
        args=training,
        train_dataset=samples,
        optimizers=(MuonAndAdamW(model, args.learning_rate, 0.02), None),
        patch_heads=heads,
        vision_steps=args.vision_steps,
        patch_share=0.5,
        workers=args.workers,
    )
    trainer.train(resume_from_checkpoint=resumed > 0)
    del model.auxiliary
    model.bfloat16().save_pretrained(args.output)
    logger.info("saved; %s", json.dumps(trainer.state.log_history[-1]))


def _last_step(checkpoints: Path) -> int:
    return max((int(path.name.rpartition("-")[2]) for path in checkpoints.glob("checkpoint-*")), default=0)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--steps", type=int, default=7_500)
    parser.add_argument("--vision-steps", type=int, default=1_500, help="of these, for the visual encoder alone")
    parser.add_argument("--batch-size", type=int, default=32, help="conversations a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2), help="draw the samples")
    parser.add_argument("--save-steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile the layers: worth it from some minutes on")
    parser.add_argument("--no-resume", action="store_true", help="keep no optimizer state")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
