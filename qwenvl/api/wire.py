"""What the request bodies of every surface have in common: strictness, unions by JSON type, sampling parameters."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_STOP_STRINGS = 16
MAX_N = 128
INT32_MAX = 2**31 - 1
MIN_SEED = -(2**63)
# vLLM adds the answer's index to the seed, and writes 64 bits.
MAX_SEED = 2**63 - 1 - MAX_N


class WireModel(BaseModel):
    # Strict: "0.5" is not a number and true is not 1. Unknown fields are kept for the table of refused ones, and
    # otherwise ignored, as clients of other servers expect.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def by_shape(names: dict[type, str]) -> Any:
    """Choose a union's branch by the JSON type, so that an error is about that branch alone. Null is let through.

    Each branch has a ``Tag`` of ``@`` and its name in ``names``; ``@null`` is the branch for null.
    """

    def choose(value: Any) -> str | None:
        if value is None:
            return "@null"
        return next((f"@{name}" for kind, name in names.items() if isinstance(value, kind)), None)

    wanted = " or ".join(names.values())
    return Discriminator(choose, custom_error_type="shape_type", custom_error_message=f"must be {wanted}")


class StreamOptions(WireModel):
    include_usage: bool | None = None


StopString = Annotated[str, Field(min_length=1)]

StopStrings = Annotated[
    Annotated[StopString, Tag("@a string")]
    | Annotated[list[StopString], Tag("@a list of strings"), Field(max_length=MAX_STOP_STRINGS)]
    | Annotated[None, Tag("@null")],
    by_shape({str: "a string", list: "a list of strings"}),
]


class SamplingFields(WireModel):
    """Sampling parameters that every generating route takes. A field that is null counts as one that is not there."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=INT32_MAX)
    stop: StopStrings = None
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    n: int | None = Field(None, ge=1, le=MAX_N)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    ignore_eos: bool | None = None
