"""What one generation of Ascend hardware is: each file in `accelerators/` is one of these."""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """How hccn_tool is asked about an NPU's address and path on this generation.

    Attributes:
        address_query: hccn_tool's words after `-i ID` that print the address.
        address_key: What stands before the colon in front of the address.
        ping: hccn_tool's words after `-i ID` and before the address that ping it.
    """

    address_query: tuple[str, ...]
    address_key: str
    ping: tuple[str, ...]


class Hbm(NamedTuple):
    """The memory of one NPU.

    Attributes:
        total_mib: What npu-smi shows.
        usable_mib: What a program can have of it: the total that vLLM goes by.
    """

    total_mib: int
    usable_mib: int


class Accelerator(NamedTuple):
    """One generation of Ascend servers.

    Attributes:
        name: What a spec calls it.
        title: What people call it.
        npus: NPUs of one server; their physical ids are 0 to npus - 1.
        image_suffix: How the tag of a matching vllm-ascend image ends, before `-openeuler`.
        device: The device node of an NPU, with `{npu}` for its physical id.
        management_devices: Device nodes that every container needs.
        mounts: The host's files and folders that every container gets, read-only: (source, target) each.
        network: hccn_tool's words on this generation.
        hbm: The kinds of memory that its NPUs come with, the usual one first.
        super_pod: True where nodes are joined by HCCS and npu-smi knows a super pod id.
        sources: Where these facts come from.
    """

    name: str
    title: str
    npus: int
    image_suffix: str
    device: str
    management_devices: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...]
    network: Network
    hbm: tuple[Hbm, ...]
    super_pod: bool
    sources: tuple[str, ...]


class Refused(NamedTuple):
    """A generation that is known and cannot run this: why, and who says so."""

    name: str
    title: str
    reason: str
    sources: tuple[str, ...]
