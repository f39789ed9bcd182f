"""The model a run trains: loaded for its method, with what is learned set apart from what stays."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig
from transformers.utils.hub import cached_file

from qwenvl.chat import VOCABULARY_FILE, PromptFormat, Vocabulary
from qwenvl.engine.checkpoint import stored_shapes, verify_checkpoint
from qwenvl.errors import CheckpointError, UserError
from qwenvl.finetuning.settings import FinetuneSettings, Method, Precision, TrainVision
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.loading import KEPT_OUT
from qwenvl.model_executor.modeling import QWenLMHeadModel
from qwenvl.model_executor.weights import LAYER_LINEARS, VISUAL_PREFIX

EMBEDDINGS = ["wte", "lm_head"]

RESAMPLER = tuple(f"{VISUAL_PREFIX}{name}" for name in ("attn_pool.", "ln_post.", "proj"))
NEVER_TRAINED = f"{VISUAL_PREFIX}attn_pool.pos_embed"

_DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16, Precision.FP32: torch.float32}


def read_config(model: str) -> QWenConfig:
    """The configuration of a checkpoint; what lies on this machine is looked through whole first.

    Raises:
        CheckpointError: it is damaged or incomplete, or no Qwen; the message names file and key or tensor.
    """
    verify_checkpoint(model)
    if Path(model).is_dir():
        # The tensors of quantised checkpoints are not told by the config, but their files may be cut.
        stored_shapes(Path(model))
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot load {model}: {error}") from error
    if not isinstance(config, QWenConfig):
        raise CheckpointError(f"{model} is no first-generation Qwen: its model_type is {config.model_type!r}")
    return config


def read_vocabulary(model: str) -> Vocabulary:
    """The vocabulary of a checkpoint.

    Raises:
        CheckpointError: there is none, or it is malformed.
    """
    return Vocabulary.from_file(checkpoint_file(model, VOCABULARY_FILE) or Path(model) / VOCABULARY_FILE)


def checkpoint_file(model: str, name: str) -> Path | None:
    """A file of a checkpoint on this machine or on the hub; None where it has none of that name."""
    found = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def is_base_model(model: str) -> bool:
    """Whether a checkpoint was not made for chats, and so has never learned the tokens of ChatML."""
    if checkpoint_file(model, "generation_config.json") is None:
        return False
    chat_format: str = getattr(GenerationConfig.from_pretrained(model), "chat_format", PromptFormat.CHATML)
    return chat_format == PromptFormat.RAW


def is_quantized(config: QWenConfig) -> bool:
    """Whether a checkpoint's weights are packed."""
    return getattr(config, "quantization_config", None) is not None


def stored_dtype(config: QWenConfig) -> torch.dtype:
    """What a checkpoint's tensors are stored in, as its config says."""
    return config.dtype if isinstance(config.dtype, torch.dtype) else torch.float16


def choose_precision(asked: Precision) -> Precision:
    """The precision of this machine for ``auto``."""
    if asked is not Precision.AUTO:
        return asked
    if not torch.cuda.is_available():
        return Precision.FP32
    return Precision.BF16 if torch.cuda.is_bf16_supported() else Precision.FP16


def load_model(
    settings: FinetuneSettings, config: QWenConfig, precision: Precision, device: torch.device
) -> QWenLMHeadModel | PeftModel:
    """The model, ready to be trained. What is learned is in float32; mixed precision is the trainer's.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UserError: the method does not fit the checkpoint.
    """
    _check_method(settings, config)
    options: dict[str, Any] = {"dtype": _DTYPES[precision]}
    if settings.method is Method.FULL and not settings.deepspeed:
        # DeepSpeed keeps float32 weights of its own beside those it computes with.
        options["dtype"] = torch.float32
    if settings.method is Method.QLORA:
        options["device_map"] = {"": device}
        if not is_quantized(config):
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=_DTYPES[precision],
                llm_int8_skip_modules=list(KEPT_OUT),
            )
    model = AutoModelForCausalLM.from_pretrained(settings.model, **options)
    assert isinstance(model, QWenLMHeadModel)
    if settings.method is Method.FULL:
        _choose_trained(model, settings.vision)
        return model
    return _add_adapter(model, settings)


def _check_method(settings: FinetuneSettings, config: QWenConfig) -> None:
    if is_quantized(config):
        if settings.method is not Method.QLORA:
            raise UserError(f"{settings.model} is quantised: it can be trained by --method qlora alone")
        if (method := config.quantization_config.get("quant_method")) not in ("gptq", "bitsandbytes"):
            raise UserError(f"{settings.model} is quantised by {method}: only GPTQ and bitsandbytes can be trained on")
    if config.vision is None and settings.train_vision not in (None, TrainVision.NONE):
        raise UserError(f"--train-vision: {settings.model} is a text model")


def _choose_trained(model: QWenLMHeadModel, vision: TrainVision) -> None:
    for name, parameter in model.named_parameters():
        if name == NEVER_TRAINED:
            parameter.requires_grad_(False)
        elif name.startswith(VISUAL_PREFIX):
            is_trained = vision is TrainVision.ALL or (vision is TrainVision.RESAMPLER and name.startswith(RESAMPLER))
            parameter.requires_grad_(is_trained)


def _add_adapter(model: QWenLMHeadModel, settings: FinetuneSettings) -> PeftModel:
    with_embeddings = settings.train_embeddings
    if with_embeddings is None:
        with_embeddings = is_base_model(settings.model)
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_modules(model, settings.lora_targets),
        exclude_modules=r"transformer\.visual\..*",
        modules_to_save=EMBEDDINGS if with_embeddings else None,
        base_model_name_or_path=lasting_name(settings.model),
    )
    # PEFT takes this name over the one given above.
    model.name_or_path = lasting_name(settings.model)
    adapted = get_peft_model(model, adapter)
    assert isinstance(adapted, PeftModel)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            # At 16 bits a small learning rate would be rounded away.
            parameter.data = parameter.data.float()
    return adapted


def target_modules(model: nn.Module, asked: str) -> list[str]:
    """The linears of the language model that an adapter is put on, each as the end of a module's name.

    Raises:
        UserError: one of them is no linear of the language model.
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if not names:
        raise UserError("--lora-targets names no linear")
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(VISUAL_PREFIX)
    ]
    for name in names:
        if not any(linear == name or linear.endswith(f".{name}") for linear in linears):
            raise UserError(
                f"--lora-targets: the language model has no linear {name!r}; it has {', '.join(LAYER_LINEARS)}"
            )
    return names


def lasting_name(model: str) -> str:
    """How an adapter names its base: a directory by its full path, so that it is found from anywhere."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model
