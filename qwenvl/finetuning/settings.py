"""What a fine-tuning run is asked to do; every default is that of the original's recipes where they have one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, lt=1)]


class Method(StrEnum):
    LORA = "lora"
    QLORA = "qlora"
    FULL = "full"


class TrainVision(StrEnum):
    NONE = "none"
    RESAMPLER = "resampler"
    ALL = "all"


class Precision(StrEnum):
    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class FinetuneSettings(BaseModel):
    """One run. Each field is an option of ``qwenvl finetune``, described as in its help."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="checkpoint directory or hub name that is trained on")
    data: Path = Field(description="conversations to learn: a JSON list, or JSON lines")
    output: Path = Field(description="directory for the adapter or checkpoint, and for the run's own files")
    eval_data: Path | None = Field(None, description="conversations to measure the loss on, in the same format")
    eval_share: Share = Field(0.0, description="or the share of --data that is held out for it")
    image_root: Path | None = Field(
        None, description="what relative picture paths begin from; by default the data file's directory"
    )
    apply_exif_orientation: bool = Field(
        True, description="turn photos upright as their camera noted, as the server does"
    )
    method: Method = Field(
        Method.LORA, description="lora, qlora (an Int4 model, or one put in NF4 as it is loaded) or full"
    )
    train_vision: TrainVision | None = Field(
        None,
        description="of the visual encoder, with --method full: none, resampler (the default) or all, the tower too",
    )
    train_embeddings: bool | None = Field(
        None, description="with an adapter, train embeddings and output head too; by default on base models alone"
    )
    lora_rank: int = Field(64, ge=1, description="rank of the adapter")
    lora_alpha: int = Field(16, ge=1, description="its strength; alpha / rank multiplies what it adds")
    lora_dropout: Share = Field(0.05, description="dropout before it")
    lora_targets: str = Field("c_attn,attn.c_proj,w1,w2", description="linears it is put on, with commas between")
    epochs: float = Field(5.0, gt=0, description="passes over the data")
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps instead")
    batch_size: int = Field(2, ge=1, description="conversations at a time on each device")
    accumulation: int = Field(8, ge=1, description="such batches to a step")
    learning_rate: float = Field(1e-5, gt=0, description="at its highest")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    adam_beta2: Share = Field(0.95, description="of AdamW")
    warmup: Share = Field(0.01, description="share of the steps in which the learning rate rises")
    schedule: str = Field("cosine", description="how the learning rate falls, as transformers names it")
    length: int = Field(
        2048, ge=2, description="positions of the longest conversation; longer ones are left out and counted"
    )
    gradient_checkpointing: bool = Field(True, description="compute activations twice rather than keep them")
    precision: Precision = Field(
        Precision.AUTO,
        description="bf16, fp16 or fp32; auto is bf16 on GPUs that have it, fp16 on others, fp32 on CPUs",
    )
    seed: int = Field(42, ge=0, description="of what is drawn: new weights, order, dropout, the held-out share")
    save_steps: int = Field(100, ge=1, description="steps between checkpoints to resume from, and between evaluations")
    keep: int = Field(2, ge=1, description="such checkpoints that are kept")
    logging_steps: int = Field(1, ge=1, description="steps between points of the loss curve")
    workers: int = Field(2, ge=0, description="processes that read pictures")
    deepspeed: str | None = Field(None, description="zero2, zero3 or the path of a DeepSpeed configuration")
    fsdp: str | None = Field(None, description="full_shard or the path of an FSDP configuration of transformers")
    resume: bool = Field(False, description="go on from the last checkpoint in --output")

    @model_validator(mode="after")
    def _fit_each_other(self) -> "FinetuneSettings":
        if self.eval_data is not None and self.eval_share:
            raise ValueError("--eval-data and --eval-share exclude each other")
        if self.train_vision is not None and self.method is not Method.FULL:
            raise ValueError("--train-vision is for --method full: adapters are put on the language model")
        if self.train_embeddings is not None and self.method is Method.FULL:
            raise ValueError("--train-embeddings is for adapters: --method full trains embeddings anyway")
        if self.deepspeed and self.fsdp:
            raise ValueError("--deepspeed and --fsdp exclude each other")
        if self.method is Method.QLORA and (self.fsdp or self.deepspeed == "zero3"):
            raise ValueError("--method qlora cannot be sharded: packed weights stay whole on each device")
        return self

    @property
    def vision(self) -> TrainVision:
        """What of the visual encoder is trained."""
        if self.method is not Method.FULL:
            return TrainVision.NONE
        return self.train_vision or TrainVision.RESAMPLER


FREE_TO_CHANGE = frozenset({"output", "save_steps", "keep", "logging_steps", "workers", "resume"})
"""Settings that do not change what a run computes, so that it may go on under others."""


def lasting(settings: FinetuneSettings) -> dict[str, Any]:
    """What a resumed run must have in common with the run it continues, as JSON values."""
    values: dict[str, Any] = settings.model_dump(mode="json", exclude=set(FREE_TO_CHANGE))
    for name in ("data", "eval_data", "image_root"):
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve())
    return values
