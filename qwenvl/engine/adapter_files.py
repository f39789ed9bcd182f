"""An adapter's way into the server: its configuration checked and written anew, its weights copied and checked."""

import re
from pathlib import Path
from reprlib import repr as shown

from safetensors import SafetensorError, safe_open

from qwenvl.engine.adapter_config import AdapterConfig, read_adapter_config, verify_config
from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE, copy_file
from qwenvl.errors import CheckpointError
from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.weights import LAYER_LINEARS, Shapes, checkpoint_shapes

_TENSOR = re.compile(r"base_model\.model\.(transformer\.h\.(\d+)\.([a-z_0-9.]+))\.lora_([AB])\.weight")
_DTYPES = ("F16", "BF16", "F32")
_BYTES_OF_LENGTH = 8
LARGEST_HEADER = 1 << 20
"""Bytes of the weights' header: some 20 times what an adapter of the released models has."""
LARGEST_WEIGHT = 1000.0
"""Of a tensor's numbers, scaled or not. Trained ones are below 10. What makes one request's numbers overflow stays in
memory that others get after it, so all answers of the server would suffer."""


def admit_adapter(
    source: Path, target: Path, config: QWenConfig, *, max_rank: int, inside: Path | None = None
) -> AdapterConfig:
    """Make a copy of an adapter that the engine can load: nothing in it is left unchecked.

    Args:
        source: folder of the adapter.
        target: folder of the copy, which is there and empty.
        config: the served model's.
        max_rank: largest rank that the engine has room for.
        inside: as in :func:`qwenvl.engine.adapter_copy.read_file`.

    Raises:
        UserError: ``source`` does not lie inside.
        CheckpointError: names the file, and the field or the tensor at fault.
        OSError: the copy cannot be written.
    """
    linears = _adaptable(config)
    adapter = read_adapter_config(source, inside=inside)
    verify_config(source, adapter, config, linears, max_rank=max_rank)
    adapter.write(target / CONFIG_FILE)
    copy_file(source / WEIGHTS_FILE, target / WEIGHTS_FILE, largest=_largest_weights(linears, max_rank), inside=inside)
    try:
        _verify_weights(target / WEIGHTS_FILE, adapter, linears)
    except CheckpointError as error:
        raise CheckpointError(f"{source / WEIGHTS_FILE}: {error}") from None
    return adapter


def _adaptable(config: QWenConfig) -> Shapes:
    """(rows, columns) of every linear that can be adapted, by the name of its module."""
    shapes = checkpoint_shapes(config)
    names = [f"transformer.h.{i}.{linear}" for i in range(config.num_hidden_layers) for linear in LAYER_LINEARS]
    return {name: shapes[f"{name}.weight"] for name in names}


def _largest_weights(linears: Shapes, max_rank: int) -> int:
    """Bytes of a file with every linear at this rank and float32."""
    return _BYTES_OF_LENGTH + LARGEST_HEADER + sum(4 * max_rank * sum(shape) for shape in linears.values())


def _verify_weights(path: Path, adapter: AdapterConfig, linears: Shapes) -> None:
    """Names, types, shapes and numbers of all tensors; messages leave out the name of the file."""
    _verify_header(path)
    halves: dict[str, set[str]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                module, half = _place_of(name, linears)
                tensor = file.get_slice(name)
                _verify_shape(name, tuple(tensor.get_shape()), linears[module], half, adapter.rank_of(module))
                if (dtype := tensor.get_dtype()) not in _DTYPES:
                    raise CheckpointError(f"tensor {name} is of type {dtype}; {', '.join(_DTYPES)} can be served")
                largest = float(file.get_tensor(name).abs().amax())
                _verify_largest(name, largest, adapter.scaling_of(module) if half == "B" else 1.0)
                halves.setdefault(module, set()).add(half)
    except SafetensorError as error:
        raise CheckpointError(f"cannot be read: {error}") from None
    if not halves:
        raise CheckpointError("holds no tensors")
    for module, found in halves.items():
        if missing := set("AB") - found:
            raise CheckpointError(f"lacks the tensor base_model.model.{module}.lora_{missing.pop()}.weight")


def _verify_header(path: Path) -> None:
    # Reading one takes up to a hundred times its size in memory.
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_BYTES_OF_LENGTH), "little")
    if length > LARGEST_HEADER:
        raise CheckpointError(f"cannot be read: its header has {length:,} bytes, above {LARGEST_HEADER:,}")


def _verify_shape(name: str, shape: tuple[int, ...], linear: tuple[int, ...], half: str, rank: int) -> None:
    rows, columns = linear
    expected = (rank, columns) if half == "A" else (rows, rank)
    if shape != expected:
        raise CheckpointError(f"tensor {name} has shape {shown(shape)}, and {expected} is expected")


def _verify_largest(name: str, largest: float, scaling: float) -> None:
    # NaN is no smaller than anything.
    if not largest * max(1.0, scaling) <= LARGEST_WEIGHT:
        times = f" times its scaling of {scaling:g}" if scaling > 1 else ""
        raise CheckpointError(f"tensor {name} holds {largest:g}{times}; up to {LARGEST_WEIGHT:g} can be served")


def _place_of(name: str, linears: Shapes) -> tuple[str, str]:
    """The module that a tensor is of, and which half of its adapter."""
    found = _TENSOR.fullmatch(name)
    if found is not None and found[1] in linears:
        return found[1], found[4]
    if ".visual." in name:
        complaint = "adapts the vision tower, which all requests share: merge the adapter"
    elif ".wte." in name or "lm_head." in name:
        complaint = "adapts the embedding or the output layer, which cannot be served: merge the adapter"
    elif found is not None and found[3] in LAYER_LINEARS:
        complaint = f"is of layer {found[2]}, and the served model has {len(linears) // len(LAYER_LINEARS)}"
    else:
        complaint = f"is none of an adapter for {', '.join(LAYER_LINEARS)} in transformer.h.*"
    raise CheckpointError(f"tensor {name} {complaint}")
