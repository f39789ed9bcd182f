"""One run from beginning to end: data, model, training, files."""

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainingArguments, set_seed

from qwenvl.errors import UserError
from qwenvl.finetuning.arguments import training_arguments
from qwenvl.finetuning.dataset import Collator, ConversationDataset
from qwenvl.finetuning.models import choose_precision, load_model, read_config, read_vocabulary
from qwenvl.finetuning.pictures import Pictures
from qwenvl.finetuning.preparation import Requirements, digest, hold_out, prepare
from qwenvl.finetuning.records import Record
from qwenvl.finetuning.run_folder import RunFolder
from qwenvl.finetuning.saving import save_checkpoint, staged
from qwenvl.finetuning.settings import FinetuneSettings, Method, lasting
from qwenvl.finetuning.trainer import Outcome, QWenTrainer
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.modeling import QWenLMHeadModel

logger = logging.getLogger(__name__)

VERSIONS = ("qwenvl", "torch", "transformers", "peft", "accelerate")


def finetune(settings: FinetuneSettings) -> Outcome:
    """Check everything, train, and save.

    The result is in ``settings.output``: a PEFT adapter, or a checkpoint in the original's layout. A run that was
    stopped leaves its checkpoint instead, and ``resume`` goes on from it.

    Raises:
        UserError: the data, the settings or the folder are not right; no step is taken.
        CheckpointError: the model's checkpoint cannot be loaded.
    """
    folder = RunFolder(settings.output)
    config = read_config(settings.model)
    precision = choose_precision(settings.precision)
    has_evaluation = settings.eval_data is not None or settings.eval_share > 0
    arguments = training_arguments(settings, folder, precision, has_evaluation=has_evaluation)
    if arguments.process_index:
        # One process speaks for all.
        logging.getLogger("qwenvl").setLevel(logging.ERROR)
    identity = _identity(settings) | {"processes": arguments.world_size}
    folder.check(identity, resume=settings.resume)
    learned, held_out = _read_data(settings, config, folder, arguments)
    set_seed(settings.seed)
    model = load_model(settings, config, precision, arguments.device)
    _log_size(model)
    trainer = _trainer(settings, config, model, arguments, folder, (learned, held_out))
    if trainer.is_world_process_zero() and not settings.resume:
        folder.write_json(folder.settings, identity)
    outcome = trainer.run(resume=settings.resume)
    if outcome.is_complete:
        _save(trainer, settings)
    if trainer.is_world_process_zero():
        folder.write_json(folder.summary, _summary(identity, outcome, trainer, len(learned.records)))
    return outcome


def _identity(settings: FinetuneSettings) -> dict[str, Any]:
    """What a run that goes on must have in common with the one that began."""
    identity = lasting(settings)
    for name in ("data", "eval_data"):
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        try:
            identity[f"{name}_sha256"] = digest(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
    return identity


def _read_data(
    settings: FinetuneSettings, config: QWenConfig, folder: RunFolder, arguments: TrainingArguments
) -> tuple[ConversationDataset, ConversationDataset | None]:
    vocabulary = read_vocabulary(settings.model)
    if settings.length > config.max_position_embeddings:
        raise UserError(
            f"--length {settings.length} is more than the model's {config.max_position_embeddings} positions"
        )
    requirements = Requirements(vocabulary, config.vision, settings.length)

    def dataset(path: Path, records: list[Record]) -> ConversationDataset:
        return ConversationDataset(records, vocabulary, config.vision, pictures_of(path))

    def pictures_of(path: Path) -> Pictures:
        return Pictures(settings.image_root or path.parent, folder.pictures, settings.apply_exif_orientation)

    def read(path: Path) -> list[Record]:
        # One process looks at the pictures and downloads them, then the others read the same data.
        with arguments.main_process_first():
            return prepare(path, requirements, pictures_of(path), look_at_pictures=arguments.process_index == 0)

    records = read(settings.data)
    if settings.eval_data is not None:
        return dataset(settings.data, records), dataset(settings.eval_data, read(settings.eval_data))
    if settings.eval_share:
        learned, held_out = hold_out(records, settings.eval_share, settings.seed)
        return dataset(settings.data, learned), dataset(settings.data, held_out)
    return dataset(settings.data, records), None


def _trainer(
    settings: FinetuneSettings,
    config: QWenConfig,
    model: QWenLMHeadModel | PeftModel,
    arguments: TrainingArguments,
    folder: RunFolder,
    data: tuple[ConversationDataset, ConversationDataset | None],
) -> QWenTrainer:
    learned, held_out = data
    return QWenTrainer(
        model,
        arguments,
        folder=folder,
        train_dataset=learned,
        eval_dataset=held_out,
        data_collator=Collator(learned.vocabulary.end_of_text, config.vision is not None),
    )


def _save(trainer: QWenTrainer, settings: FinetuneSettings) -> None:
    # All processes of a sharded model take part in gathering it; one writes.
    tensors = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    if settings.method is Method.FULL:
        save_checkpoint(model, tensors, settings.model, settings.output)
    else:
        with staged(settings.output) as folder:
            model.save_pretrained(str(folder), state_dict=tensors)
    logger.info("saved in %s", settings.output)


def _log_size(model: torch.nn.Module) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("%s parameters are trained", f"{trained:,}")


def _summary(identity: dict[str, Any], outcome: Outcome, trainer: QWenTrainer, samples: int) -> dict[str, Any]:
    return {
        "settings": identity,
        "versions": {name: version(name) for name in VERSIONS},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "samples": samples,
        "steps_planned": trainer.state.max_steps,
        **asdict(outcome),
        "log": trainer.state.log_history,
    }
