"""Specs of any size, that check with no fault: each node its own entry, or entries with ranges."""

from __future__ import annotations

_HEAD = """\
version: 1
name: bench
accelerator: atlas-a2
image: quay.io/ascend/vllm-ascend:v0.11.0
cache: /mnt/shared/cache
defaults:
  interface: enp67s0f5
  docker: ssh://root@{address}
model: {layers: 1000000, attention_heads: 64, kv_heads: 8, experts: 0, weights: bf16}
serve:
  model: /root/.cache/models/large
nodes:
"""
_PER_NET = 25  # nodes whose NPU addresses share a /24


def spec(nodes: int, form: str) -> str:
    """The text of a spec; `form` is `single` or `ranges`."""
    entries = []
    for first in range(0, nodes, _PER_NET):
        count = min(_PER_NET, nodes - first)
        block = first // _PER_NET
        hosts = f"10.{block // 2500}.{block % 2500 // 10}", block % 10 * _PER_NET + 1
        npus = f"20.{block // 250}.{block % 250}"
        if form == "ranges" and count > 1:
            last = first + count - 1
            entries.append(
                f'  - name: "node-[{first:06}:{last:06}]"\n'
                f'    address: "{hosts[0]}.[{hosts[1]}:{hosts[1] + count - 1}]"\n'
                f'    npu_addresses: {{first: "{npus}.[1:{8 * count - 7}:8]"}}\n'
            )
            continue
        entries += [
            f"  - name: node-{first + step:06}\n"
            f"    address: {hosts[0]}.{hosts[1] + step}\n"
            f"    npu_addresses: {{first: {npus}.{8 * step + 1}}}\n"
            for step in range(count)
        ]
    return _HEAD + "".join(entries)


def with_one_changed(text: str) -> str:
    """The spec with a variable for one node in the middle, or for the nodes of one entry."""
    entries = text.split("  - name: ")
    middle = len(entries) // 2 or 1
    entries[middle] = entries[middle].rstrip("\n") + '\n    env: {HCCL_OP_EXPANSION_MODE: "AIV"}\n'
    return "  - name: ".join(entries)


def with_all_changed(text: str) -> str:
    """The spec with another image."""
    return text.replace("v0.11.0", "v0.11.1")
