"""How the small model is trained from scratch: ``python -m qwenvl.demo.training --output DIR``.

On endless synthetic scenes. What makes it quick: a resampler that starts out looking at each query's own place
(``small_model.place_queries``), heads on its output that tell what is at each patch (``patch_heads``, dropped
afterwards), attention that is told where to look (``guided_attention``), both until the language model can do without,
and Muon (``optimizer``).
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from qwenvl.chat import VOCABULARY_FILE, Vocabulary
from qwenvl.demo.guided_attention import GuidedAttention
from qwenvl.demo.optimizer import MuonAndAdamW
from qwenvl.demo.patch_heads import PatchHeads
from qwenvl.demo.samples import Layout, SceneSamples
from qwenvl.demo.small_model import demo_vocabulary, place_queries, small_config, write_side_files
from qwenvl.errors import CheckpointError, QwenVLError
from qwenvl.finetuning.run_folder import RunFolder
from qwenvl.finetuning.samples import IGNORED_LABEL
from qwenvl.finetuning.trainer import QWenTrainer, leave_signals
from qwenvl.model_executor.modeling import QWenLMHeadModel

logger = logging.getLogger(__name__)

PATCH_WEIGHT = 0.5
"""Of the patch heads' loss beside that of the answers."""

LOOK_WEIGHT = 0.2
"""Of the loss of the guided attention."""

DECAY_SHARE = 0.55
"""Of the steps, the last: the learning rate falls to 0. Much of what is learned shows only then."""

LENGTH = 416
"""Token positions of a training sample; the few conversations that are longer are drawn again."""

LASTING = ("vision_steps", "batch_size", "learning_rate", "seed")
"""Settings that a run that goes on shares with its beginning: optimizer and schedule are restored with theirs."""


class SmallModelTrainer(QWenTrainer):
    """The loop of fine-tuning over endless batches, with the losses of patch heads and guided attention added.

    Args:
        patch_heads: registered with the model as ``auxiliary`` while it trains.
        vision_steps: steps at the start that train the visual encoder alone, on the heads' loss; several times as
            fast, and what the language model then looks at is worth asking about.
            Then both losses count less and less, and nothing at the end.
    """

    def __init__(
        self,
        model: QWenLMHeadModel,
        *,
        patch_heads: PatchHeads,
        vision_steps: int,
        workers: int,
        **kwargs: Any,
    ):
        super().__init__(model, **kwargs)
        self.patch_heads = patch_heads
        self.vision_steps = vision_steps
        self.workers = workers
        self.language = model
        self.guide = GuidedAttention(model.transformer)
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
            worker_init_fn=leave_signals,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=2 if self.workers else None,
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Of the answers, and at first of the patches and of where it looks."""
        kinds, boxes = inputs.pop("patch_kinds"), inputs.pop("patch_boxes")
        look_tokens, look_places = inputs.pop("look_tokens"), inputs.pop("look_places")
        step = self.state.global_step
        answers = looks = torch.zeros((), device=kinds.device)
        if step < self.vision_steps:
            with self.accelerator.autocast():
                self.visual(inputs["pixel_values"])
        else:
            with self.accelerator.autocast():
                answers = self._answers_loss(inputs["labels"], inputs["input_ids"], inputs["pixel_values"])
                looks = self.guide.loss(look_tokens, look_places)
        vectors = self._vectors.pop()
        if not len(vectors):
            return answers + vectors.sum()
        weight = 1 - max(0, step - self.vision_steps) / max(1, self.state.max_steps - self.vision_steps)
        patches: Tensor = self.patch_heads(vectors, kinds, boxes)
        if step % 50 == 0:
            logger.info(
                "step %d: answers %.4f, patches %.4f, looks %.4f",
                step,
                *(float(each.detach()) for each in (answers, patches, looks)),
            )
        return answers + weight * (PATCH_WEIGHT * patches + LOOK_WEIGHT * looks)

    def _answers_loss(self, labels_BL: Tensor, ids_BL: Tensor, pixels: Tensor) -> Tensor:
        """Mean over the learned tokens. Four of five positions are none, and need no logits."""
        hidden_BLE = self.language.transformer(input_ids=ids_BL, pixel_values=pixels).last_hidden_state
        next_BL = labels_BL[:, 1:]
        learned_BL = next_BL != IGNORED_LABEL
        return F.cross_entropy(self.language.lm_head(hidden_BLE[:, :-1][learned_BL]).float(), next_BL[learned_BL])


def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        train(args)
    except QwenVLError as error:
        raise SystemExit(str(error)) from None


def train(args: argparse.Namespace) -> None:
    """A run from beginning to end, or on from where it was left.

    Raises:
        UserError: the folder holds a run with other settings.
        CheckpointError: what to start from does not fit, or is damaged.
    """
    folder = RunFolder(args.output)
    _check_settings(args, folder)
    vocabulary = _vocabulary(args.output, args.start)
    torch.manual_seed(args.seed)
    config = small_config(vocabulary)
    write_side_files(args.output, config, vocabulary)
    assert config.vision is not None
    model = QWenLMHeadModel(config)
    place_queries(model.transformer.visual)
    logger.info("%.2f million parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    heads = PatchHeads(config)
    model.auxiliary = heads
    if args.start:
        # A checkpoint still has the patch heads that the finished weights go without.
        start_from((RunFolder(args.start).last_checkpoint() or args.start) / "model.safetensors", model)
    last = folder.last_checkpoint()
    # After a resume the samples are new ones.
    seed = args.seed if last is None else args.seed + int(last.name.rpartition("-")[2])
    layout = Layout(config.vision, LENGTH)
    samples = SceneSamples(str(args.output / VOCABULARY_FILE), layout, args.batch_size, seed)
    trainer = SmallModelTrainer(
        model=model,
        args=_training_arguments(args, folder),
        folder=folder,
        train_dataset=samples,
        optimizers=(MuonAndAdamW(model, args.learning_rate, 0.02), None),
        patch_heads=heads,
        vision_steps=args.vision_steps,
        workers=args.workers,
    )
    outcome = trainer.run(resume=last is not None)
    if not outcome.is_complete:
        logger.info("stopped after %d steps: the same command goes on", outcome.steps)
        return
    del model.auxiliary
    # Training has switched it off.
    model.config.use_cache = True
    model.bfloat16().save_pretrained(args.output)
    # Saving writes some of them anew, without what a chat needs.
    write_side_files(args.output, config, vocabulary)
    logger.info("%d steps; saved in %s", outcome.steps, args.output)


def _check_settings(args: argparse.Namespace, folder: RunFolder) -> None:
    """Write down what a new run is asked, and see that one that goes on is asked the same; only steps may be added."""
    asked = {name: getattr(args, name) for name in LASTING}
    if folder.settings.exists():
        folder.check(asked, resume=True)
    else:
        folder.write_json(folder.settings, asked)


def _vocabulary(output: Path, start: Path | None) -> Vocabulary:
    """The run's own where it goes on, else that of the weights it starts from, whatever questions have become since.

    Raises:
        CheckpointError: there is none beside the weights.
    """
    learned = output / VOCABULARY_FILE
    if learned.exists():
        return Vocabulary.from_file(learned)
    if start is None:
        return demo_vocabulary()
    if not (start / VOCABULARY_FILE).exists():
        raise CheckpointError(f"{start} cannot be started from: an earlier run's folder holds {VOCABULARY_FILE}")
    return Vocabulary.from_file(start / VOCABULARY_FILE)


def start_from(weights: Path, model: nn.Module) -> None:
    """Load an earlier run's weights. Finished ones have no patch heads; these are then learned anew.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unexpected or of another shape.
    """
    try:
        missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{weights} cannot be started from: {error}") from error
    if wrong := [name for name in (*missing, *unexpected) if not name.startswith("auxiliary.")]:
        raise CheckpointError(f"{weights} cannot be started from: {wrong[0]} is missing or unexpected")
    logger.info("starting from %s%s", weights, " with new patch heads" if missing else "")


def _training_arguments(args: argparse.Namespace, folder: RunFolder) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder.checkpoints),
        max_steps=args.steps,
        learning_rate=args.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(args.steps * DECAY_SHARE), "decay_type": "linear"},
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
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--start", type=Path, help="folder of an earlier run, to start from its weights")
    parser.add_argument("--steps", type=int, default=7_500)
    parser.add_argument("--vision-steps", type=int, default=1_500, help="of these, for the visual encoder alone")
    parser.add_argument("--batch-size", type=int, default=32, help="conversations a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2), help="draw the samples")
    parser.add_argument("--save-steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
