"""A finished model as files: whole or not at all, and in the original's layout."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from transformers import AutoConfig, GenerationConfig

from qwenvl.chat import VOCABULARY_FILE, PromptFormat
from qwenvl.engine.adapter_copy import CONFIG_FILE
from qwenvl.engine.checkpoint import verify_checkpoint
from qwenvl.finetuning.models import checkpoint_file, is_quantized, stored_dtype
from qwenvl.model_executor.modeling import QWenLMHeadModel

COPIED = (VOCABULARY_FILE, "tokenizer_config.json")
LAST = (CONFIG_FILE, "config.json")
"""Without these a directory is no adapter and no checkpoint."""


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A directory to write into; when the block ends well, its files are moved to ``output``, those of LAST at last."""
    staging = output / ".unfinished"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for path in sorted(staging.iterdir(), key=lambda path: (path.name in LAST, path.name)):
            os.replace(path, output / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def save_checkpoint(model: QWenLMHeadModel, tensors: Mapping[str, Tensor], source: str, output: Path) -> None:
    """Write a full checkpoint, and check it.

    Args:
        model: what is written.
        tensors: its state dict.
        source: the checkpoint it was made from, unpacked if that is packed. Its config, its vocabulary and its settings
            of generation are written beside the tensors, and its dtype is theirs.
        output: directory.

    Raises:
        CheckpointError: what was written is not the original's layout; nothing is left of it.
    """
    config = AutoConfig.from_pretrained(source)
    dtype = stored_dtype(config)
    config.dtype = dtype
    if is_quantized(config):
        del config.quantization_config
    # The source's file is written instead: it has settings that transformers does not know or refuses to write.
    model.generation_config = GenerationConfig()
    with staged(output) as folder:
        cast = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
        model.save_pretrained(folder, state_dict=cast)
        # What training or merging left in the model's own is not wanted.
        config.save_pretrained(folder)
        for name in COPIED:
            if (path := checkpoint_file(source, name)) is not None:
                shutil.copyfile(path, folder / name)
        _write_generation_config(source, folder)
        verify_checkpoint(str(folder))


def _write_generation_config(source: str, folder: Path) -> None:
    name = "generation_config.json"
    if (path := checkpoint_file(source, name)) is None:
        return
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("chat_format", PromptFormat.CHATML) != PromptFormat.CHATML:
        # Whatever the model was, it has learned conversations now.
        settings["chat_format"] = PromptFormat.CHATML
    (folder / name).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
