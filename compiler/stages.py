"""Which layers each pipeline stage gets, as vLLM deals them out."""

from __future__ import annotations


def stages(layers: int, pipeline: int, partition: str = "") -> tuple[int, ...]:
    """The layers of each stage, the first stage first.

    What does not divide goes to the stages before the last, which has the output head: `get_pp_indices` of
    https://github.com/vllm-project/vllm/blob/v0.23.0/vllm/distributed/utils.py. A `partition`, as
    VLLM_PP_LAYER_PARTITION has it, counts instead.
    """
    if partition:
        return tuple(int(each) for each in partition.split(","))
    each, left = divmod(layers, pipeline)
    return tuple(each + (pipeline - left - 1 <= stage < pipeline - 1) for stage in range(pipeline))


def partition_fault(partition: str, layers: int, pipeline: int) -> str:
    """What vLLM says of this VLLM_PP_LAYER_PARTITION, in its own words; empty when it takes it."""
    try:
        sizes = [int(each) for each in partition.split(",")]
    except ValueError:
        return f"Invalid partition string: {partition if partition.isprintable() else repr(partition)}"
    if any(size < 1 for size in sizes):
        return f"a stage of {min(sizes)} layers is none"  # vLLM says nothing, and starts with it
    if len(sizes) != pipeline:
        return f"len(partitions)={len(sizes)} does not match pp_size={pipeline}."
    if sum(sizes) != layers:
        return f"sum(partitions)={sum(sizes)} does not match num_hidden_layers={layers}."
    return ""


def spans(sizes: tuple[int, ...]) -> tuple[range, ...]:
    """The numbers of the layers of each stage."""
    ends = [sum(sizes[: stage + 1]) for stage in range(len(sizes))]
    return tuple(range(end - size, end) for end, size in zip(ends, sizes, strict=True))
