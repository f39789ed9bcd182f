"""``from_pretrained`` with the original's options."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.import_utils import is_flash_attn_2_available

from qwenvl.errors import CheckpointError
from qwenvl.model_executor.modeling import QWenLMHeadModel
from tests.parity.checkpoints import golden_tensors, write_checkpoint
from tests.parity.golden import CHECKPOINT, case_named
from tests.parity.model_inputs import inputs_of

FLAGS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def load(folder: Path = CHECKPOINT, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def written(folder: Path, **config: object) -> Path:
    return write_checkpoint(folder, golden_tensors(), **config)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_chooses_the_precision(flag: str, tmp_path: Path) -> None:
    # The file says fp16.
    model = load(**{flag: True})
    assert model.dtype == model.config.dtype == FLAGS[flag]
    assert QWenLMHeadModel.from_pretrained(CHECKPOINT, **{flag: True}).dtype == FLAGS[flag]
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert [name for name in FLAGS if saved.get(name)] == [flag]
    assert saved["torch_dtype"] == str(FLAGS[flag]).removeprefix("torch.")
    assert load(tmp_path).dtype == FLAGS[flag]


def test_flags_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bf16=True and fp16=True exclude each other"):
        load(bf16=True, fp16=True)
    with pytest.raises(ValueError, match="bf16 and fp32 exclude each other"):
        load(written(tmp_path / "two", bf16=True, fp16=False, fp32=True))


def test_without_a_flag_the_device_chooses(tmp_path: Path) -> None:
    assert load().dtype == torch.float16
    plain = written(tmp_path / "plain", bf16=False, fp16=False, fp32=False)
    automatic = torch.float32
    if torch.cuda.is_available():
        automatic = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    assert load(plain).dtype == automatic
    assert load(plain, device_map="cpu").dtype == torch.float32


def test_a_dtype_has_the_last_word(tmp_path: Path) -> None:
    model = load(dtype=torch.float32, fp16=True)
    assert model.dtype == torch.float32
    assert load(dtype="auto", fp32=True).dtype == torch.float16
    assert QWenLMHeadModel.from_pretrained(CHECKPOINT, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert QWenLMHeadModel.from_pretrained(CHECKPOINT, dtype="auto").dtype == torch.float16
    # The original reads flags alone: one that says another precision than the file's tensors is not saved.
    model.save_pretrained(tmp_path)
    assert not any(json.loads((tmp_path / "config.json").read_text()).get(name) for name in FLAGS)


def test_flash_attention_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = load(use_flash_attn=True, fp32=True, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    assert "flash_attn" not in caplog.text
    assert load(use_flash_attn=False, fp32=True).config._attn_implementation == "sdpa"
    if not is_flash_attn_2_available():
        assert load(use_flash_attn=True, fp16=True).config._attn_implementation == "sdpa"
        assert "flash_attn is not installed" in caplog.text


def answer(model: Any) -> list[int]:
    inputs = inputs_of(model, [case_named("text")])
    output = model.generate(**inputs, do_sample=False, max_new_tokens=6, eos_token_id=None, pad_token_id=0)
    return output[0, -6:].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_maps(device_map: Any) -> None:
    assert answer(load(device_map=device_map, fp32=True)) == list(case_named("text").answer_ids[:6])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are calling .generate")  # the first weights are on no device
@pytest.mark.parametrize("on_disk", [("transformer.h.1", "transformer.visual"), ("transformer.wte", "transformer.h.0")])
def test_weights_kept_on_disk(on_disk: tuple[str, ...], tmp_path: Path) -> None:
    parts = (
        "transformer.wte",
        "transformer.h.0",
        "transformer.h.1",
        "transformer.ln_f",
        "transformer.visual",
        "lm_head",
    )
    device_map = {part: "disk" if part in on_disk else "cpu" for part in parts}
    model = load(device_map=device_map, offload_folder=str(tmp_path), fp32=True)
    case = case_named("one_image")
    inputs = inputs_of(model, [case])
    output = model.generate(**inputs, do_sample=False, max_new_tokens=6, eos_token_id=None, pad_token_id=0)
    assert tuple(output[0, -6:].tolist()) == case.answer_ids[:6]


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint with a narrower MLP in the tower: kernels for 4 bits on CPUs want multiples of 32."""
    tensors = golden_tensors()
    for name in [name for name in tensors if ".visual.transformer." in name]:
        if ".mlp.c_fc." in name:
            tensors[name] = tensors[name][:256].contiguous()
        elif name.endswith(".mlp.c_proj.weight"):
            tensors[name] = tensors[name][:, :256].contiguous()
    visual = json.loads((CHECKPOINT / "config.json").read_text())["visual"]
    return write_checkpoint(tmp_path_factory.mktemp("nf4") / "even", tensors, visual=visual | {"mlp_ratio": 4.0})


def nf4(**options: Any) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **options)


def kept(model: Any) -> set[str]:
    """Linears that are not quantised."""
    return {name for name, module in model.named_modules() if type(module) is nn.Linear}


KEPT_OUT = {"lm_head", "transformer.visual.attn_pool.attn.out_proj"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantization",
    [
        nf4(bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=["lm_head", "attn_pool.attn"]),
        nf4(bnb_4bit_compute_dtype=torch.bfloat16),
        {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "quant_method": "bitsandbytes"},
    ],
    ids=["named", "default", "as-a-dict"],
)
def test_four_bits(even: Path, quantization: Any, tmp_path: Path) -> None:
    model = load(even, quantization_config=quantization, fp32=True)
    assert kept(model) == KEPT_OUT
    assert sum("Linear4bit" in type(module).__name__ for module in model.modules()) == 19
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert kept(again) == KEPT_OUT
    assert answer(again) == answer(model)


@pytest.mark.slow
def test_four_bits_are_near(even: Path) -> None:
    plain = load(even, fp32=True)
    quantization = nf4(bnb_4bit_compute_dtype=torch.float32)
    model = load(even, quantization_config=quantization, fp32=True)
    unpacked = load(even, quantization_config=quantization, fp32=True).dequantize()
    inputs = inputs_of(plain, [case_named("one_image")])
    with torch.inference_mode():
        logits, expected = model(**inputs).logits, unpacked(**inputs).logits
    # The kernel for CPUs multiplies in bfloat16.
    assert (logits - expected).norm() / expected.norm() < 0.05
    for name, module in plain.named_modules():
        if isinstance(module, nn.Linear):
            rounded = unpacked.get_submodule(name).weight
            error = (rounded - module.weight).norm() / module.weight.norm()
            assert error < (1e-6 if name in KEPT_OUT else 0.12), name


def test_other_modules_can_stay_too(even: Path) -> None:
    model = load(even, quantization_config=nf4(llm_int8_skip_modules=["lm_head", "visual"]), fp32=True)
    visual = {name for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".visual." in name}
    assert kept(model) == {"lm_head"} | visual


STRANGE = "transformer.h.0.attn.strange"


def test_tensors_are_those_of_the_config_or_refused_by_name(tmp_path: Path) -> None:
    tensors = golden_tensors()
    stale = {
        "transformer.h.0.attn.rotary_emb.inv_freq": torch.zeros(8),
        "transformer.h.1.attn.masked_bias": torch.ones(1),
    }
    assert load(write_checkpoint(tmp_path / "stale", tensors | stale)).dtype == torch.float16
    with pytest.raises(CheckpointError, match=r"an unexpected tensor: transformer\.h\.0\.attn\.strange \(1 in all\)"):
        load(write_checkpoint(tmp_path / "strange", tensors | {STRANGE: torch.zeros(2)}))
    narrow = tensors | {"transformer.ln_f.weight": torch.zeros(7)}
    with pytest.raises(CheckpointError, match=r"tensor transformer\.ln_f\.weight has shape \(7,\), but config\.json"):
        load(write_checkpoint(tmp_path / "narrow", narrow))
    assert load(tmp_path / "narrow", ignore_mismatched_sizes=True).dtype == torch.float16


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "cut")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut/model\.safetensors is damaged"):
        load(folder)
