"""An emulated Ascend host that `compiler verify` finds healthy: its tools answer, its network and storage are there."""

from __future__ import annotations

import json
from pathlib import Path

EMULATOR = Path(__file__).parent.parent / "emulator"
# The tools know their state by a variable, and the host's root is read-only for them: /mnt/emulator is in memory.
# /sys is mounted anew, with the network that this is in, and gets its cgroups back: Docker needs them.
SETUP = """
mkdir -p /mnt/cgroup
mount --rbind /sys/fs/cgroup /mnt/cgroup
mount -t sysfs sysfs /sys
mount --rbind /mnt/cgroup /sys/fs/cgroup
mkdir -p /mnt/emulator /mnt/shared/cache
mount --bind {shared} /mnt/shared/cache
cp {emulator}/hccn_tool {emulator}/npu-smi /mnt/emulator
echo 'npus=8' >/mnt/emulator/state
echo 'node={index}' >>/mnt/emulator/state
for tool in Ascend/driver/tools/hccn_tool bin/npu-smi; do
  cat >/usr/local/$tool <<'END'
#!/bin/bash
[[ -e /mnt/emulator ]] || {{ echo npu-smi 25.2.0 in a container && exit; }}
EMULATOR_STATE=/mnt/emulator/state exec bash "/mnt/emulator/${{0##*/}}" "$@"
END
  chmod 755 /usr/local/$tool
done
for npu in {{0..7}}; do echo "address_$npu=10.20.{index}.$((10 + npu))"; done >/etc/hccn.conf
echo 'package_version=25.2.0' >/usr/local/Ascend/driver/version.info
printf '%s\\n' '127.0.0.1 localhost' '{address} node-{index}' >/etc/hosts
mount -t tmpfs tmpfs /run
mkdir /run/sshd
ln -s $SOCKET /run/docker.sock
echo 60000-60015 >/proc/sys/net/ipv4/ip_local_reserved_ports
"""
# As that of https://huggingface.co/Qwen/Qwen3-0.6B, with fewer layers, and KV heads for any number of NPUs here.
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "head_dim": 128,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_hidden_layers": 16,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}


def setup(index: int, address: str, shared: Path) -> str:
    """The bash that makes an engine's host node number `index`, with the storage that it shares with the others."""
    return SETUP.format(index=index, address=address, shared=shared, emulator=EMULATOR)


def model(folder: Path) -> None:
    """A small model with all its files."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard in shards:
        (folder / shard).write_bytes(bytes(100))
    index = {"metadata": {"total_size": 150}, "weight_map": {f"layer.{number}": shards[number] for number in (0, 1)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
