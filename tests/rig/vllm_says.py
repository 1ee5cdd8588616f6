"""What vLLM itself says of deployments, without an NPU or weights: run by a Python that has a vLLM.

Reads a JSON list of cases from standard input; prints a JSON list of what vLLM said of each, an empty text for yes.
A case is `{"config": {...}, "tensor": 8, "pipeline": 2, "expert_parallel": false, "length": 8192, "partition": ""}`:
a config.json and what is asked of it. `{"layers": 61, "pipeline": 4}` alone asks how layers are dealt out, and
`{"cache": {...}}` whether a KV cache holds one sequence.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Case = dict[str, Any]


def said(case: Case) -> object:
    """What vLLM says of the case."""
    if "cache" in case:
        return _of_cache(case["cache"])
    return _stages(case) if "config" not in case else _of_model(case)


def _stages(case: Case) -> object:
    import vllm.distributed.utils  # noqa: PLC0415

    pipeline = case["pipeline"]
    if case.get("partition"):
        os.environ["VLLM_PP_LAYER_PARTITION"] = case["partition"]
    try:
        indices = vllm.distributed.utils.get_pp_indices
        spans = [indices(case["layers"], stage, pipeline) for stage in range(pipeline)]
    except ValueError as fault:
        return str(fault)
    finally:
        os.environ.pop("VLLM_PP_LAYER_PARTITION", None)
    return [end - start for start, end in spans]


def _of_model(case: Case) -> str:
    model = _model(json.dumps(case["config"]), case["length"])
    if isinstance(model, str):
        return model
    try:
        model.verify_with_parallel_config(_parallel(case))
    except (ValueError, NotImplementedError) as fault:
        return str(fault)
    return ""


@cache
def _model(config: str, length: int) -> Any:
    """VLLM's own config of a model, made once: it inspects the class in a process of its own. Or why it makes none."""
    from vllm.config import ModelConfig  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(config)
        words = {"tokenizer": folder, "skip_tokenizer_init": True, "dtype": "bfloat16", "max_model_len": length}
        try:
            return ModelConfig(model=folder, **words)
        except ValueError as fault:
            return str(fault)


def _parallel(case: Case) -> Any:
    """As much of a ParallelConfig as is read; a whole one asks for devices."""
    tensor, pipeline = case["tensor"], case["pipeline"]
    return SimpleNamespace(
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        enable_expert_parallel=case["expert_parallel"],
        distributed_executor_backend="ray",
        data_parallel_size=1,
        decode_context_parallel_size=1,
        prefill_context_parallel_size=1,
        world_size=tensor * pipeline,
        world_size_across_dp=tensor * pipeline,
        use_ray=True,
    )


def _of_cache(cache: Case) -> str:
    import torch  # noqa: PLC0415
    from vllm.v1.core import kv_cache_utils  # noqa: PLC0415
    from vllm.v1.kv_cache_interface import FullAttentionSpec  # noqa: PLC0415

    words = {"block_size": 128, "num_kv_heads": cache["kv_heads"], "head_size": cache["width"], "dtype": torch.bfloat16}
    try:
        spec = FullAttentionSpec(**words)
    except TypeError:  # 0.11 asks whether it is latent attention
        spec = FullAttentionSpec(**words, use_mla=False)
    specs = {f"layer.{layer}": spec for layer in range(cache["layers"])}
    config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=cache["length"]),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1, prefill_context_parallel_size=1),
        cache_config=SimpleNamespace(gpu_memory_utilization=0.9),
    )
    try:
        kv_cache_utils.check_enough_kv_cache_memory(config, specs, cache["available"])
    except ValueError as fault:
        return str(fault)
    return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps([said(case) for case in json.load(sys.stdin)]))
