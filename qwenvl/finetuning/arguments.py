"""A run's settings in the words of transformers."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from qwenvl.errors import UserError
from qwenvl.finetuning.run_folder import RunFolder
from qwenvl.finetuning.settings import FinetuneSettings, Precision

OWN_CONFIGS = resources.files("qwenvl.finetuning") / "configs"
"""Of DeepSpeed and FSDP, each named as the option that chooses it."""


def training_arguments(
    settings: FinetuneSettings, folder: RunFolder, precision: Precision, *, has_evaluation: bool
) -> TrainingArguments:
    """Arguments of the Trainer.

    With DeepSpeed it matters that they are made before the model is loaded: transformers then loads it in parts.

    Raises:
        UserError: the named configuration cannot be read, or transformers refuses a value.
    """
    options: dict[str, Any] = {}
    if settings.deepspeed is not None:
        options["deepspeed"] = read_sharding(settings.deepspeed)
    if settings.fsdp is not None:
        config = read_sharding(settings.fsdp)
        options |= {"fsdp": True, "fsdp_config": config | {"activation_checkpointing": settings.gradient_checkpointing}}
    try:
        return TrainingArguments(
            output_dir=str(folder.checkpoints),
            num_train_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,
            per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulation,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            adam_beta2=settings.adam_beta2,
            warmup_steps=settings.warmup,
            lr_scheduler_type=settings.schedule,
            # FSDP has its own way to do the same.
            gradient_checkpointing=settings.gradient_checkpointing and settings.fsdp is None,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            bf16=precision is Precision.BF16,
            fp16=precision is Precision.FP16,
            use_cpu=not torch.cuda.is_available(),
            seed=settings.seed,
            save_steps=settings.save_steps,
            save_total_limit=settings.keep,
            eval_strategy="steps" if has_evaluation else "no",
            eval_steps=settings.save_steps,
            prediction_loss_only=True,
            logging_steps=settings.logging_steps,
            include_num_input_tokens_seen="non_padding",
            dataloader_num_workers=settings.workers,
            dataloader_pin_memory=torch.cuda.is_available(),
            remove_unused_columns=False,
            # The collator sees to it that nothing stays unused.
            ddp_find_unused_parameters=False,
            report_to=[],
            **options,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def read_sharding(name: str) -> dict[str, Any]:
    """A configuration of this package by its short name, or any by its path.

    Raises:
        UserError: there is none, or it is no JSON object.
    """
    own = OWN_CONFIGS / f"{name}.json"
    try:
        values = json.loads((own if own.is_file() else Path(name)).read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(path.name.removesuffix(".json") for path in OWN_CONFIGS.iterdir()))
        raise UserError(f"cannot read {name}: {error.strerror}; known by name are {known}") from error
    except ValueError as error:
        raise UserError(f"{name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{name} must hold a JSON object")
    return values
