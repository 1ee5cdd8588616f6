"""The architectures that a release knows: read from the file, and the program that makes the file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compiler.architectures import knows, supports_pipeline
from compiler.releases import release_of, releases

if TYPE_CHECKING:
    from schema.release import Release

ROOT = Path(__file__).parent.parent


def release(name: str) -> Release:
    found = release_of(f"vllm-ascend:{name}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "architecture", "known", "pipeline"),
    [
        ("v0.9.1", "Qwen3MoeForCausalLM", True, True),
        ("v0.11.0", "DeepseekV3ForCausalLM", True, True),
        ("v0.11.0", "BertModel", True, False),
        ("v0.11.0", "KimiK25ForConditionalGeneration", False, None),
        ("v0.15.0rc1", "KimiK25ForConditionalGeneration", True, True),
        ("v0.23.0", "Zamba2ForCausalLM", True, False),
        ("v0.23.0", "NobodyForCausalLM", False, None),
        ("v0.11.0", "PanguProMoEForCausalLM", True, True),  # vllm-ascend's own
        ("v0.21.0rc1", "DeepseekV4ForCausalLM", True, True),  # vllm-ascend had it before its vLLM
        ("v0.11.0rc0", "LlamaForCausalLM", None, None),  # a candidate of vLLM that was not read
    ],
)
def test_an_architecture(name: str, architecture: str, known: bool | None, pipeline: bool | None) -> None:  # noqa: FBT001
    assert knows(release(name), architecture) is known
    assert supports_pipeline(release(name), architecture) is pipeline


def test_every_vllm_that_a_final_release_holds_was_read() -> None:
    final = [each for each in releases() if "rc" not in each.name]
    assert [knows(each, "LlamaForCausalLM") for each in final] == [True] * len(final)


def test_each_row_has_a_letter_for_each_release() -> None:
    content = json.loads((ROOT / "schema" / "architectures.json").read_text())
    assert {len(row) for row in content["vllm"].values()} == {len(content["releases"])}
    rows = [*content["vllm"].values(), *("".join(models.values()) for models in content["vllm_ascend"].values())]
    assert set("".join(rows)) == set("pk-")


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("vllm_models", ROOT / "tests" / "rig" / "vllm_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REGISTRY = """
_MODELS = {
    "Plain": ("plain", "Plain"), "Staged": ("staged", "Staged"), "Deaf": ("staged", "Deaf"),
    "Renamed": ("other", "Alias"), "Adapted": ("other", "Adapted"), "Chosen": ("vllm.models.chosen", "Chosen"),
}
_OLD = {"Gone": "0.9.2"}
"""
STAGED = """
from .interfaces import SupportsPP
class Staged(Module, SupportsPP):
    def forward(self, input_ids, intermediate_tensors=None): ...
class Deaf(Staged):
    def forward(self, input_ids): ...
"""
CHOSEN = """
if rocm:
    from .amd import Chosen
else:
    from .nvidia import Chosen
"""


def test_the_program_reads_what_vllm_would_say(tmp_path: Path) -> None:
    models = tmp_path / "vllm" / "model_executor" / "models"
    for file, text in {
        models / "registry.py": REGISTRY,
        models / "interfaces.py": "class SupportsPP(Protocol):\n    supports_pp = True\n    def forward(self): ...\n",
        models / "plain.py": "class Plain(Module):\n    def forward(self, intermediate_tensors): ...\n",
        models / "staged.py": STAGED,
        models / "other.py": "from vllm.model_executor.models.staged import Staged as Alias\n"
        "class Adapted(as_embedding_model(Alias)): ...\n",
        tmp_path / "vllm" / "models" / "chosen" / "__init__.py": CHOSEN,
        tmp_path / "vllm" / "models" / "chosen" / "amd.py": "class Chosen: ...\n",
        tmp_path / "vllm" / "models" / "chosen" / "nvidia.py": "class Chosen:\n    supports_pp: bool = True\n",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    program = maker()
    sources = program.Sources((tmp_path,))
    found = {name: sources.is_pipeline(where) for name, where in program.registered(sources).items()}
    assert found == {
        "Plain": False, "Staged": True, "Deaf": False, "Renamed": True, "Adapted": True, "Chosen": True,
    }  # fmt: skip


def test_a_release_takes_its_place_among_the_others() -> None:
    program = maker()
    known = program.with_release({"vllm": {}, "vllm_ascend": {}}, "0.11.0", {"A": True, "B": False})
    known = program.with_release(known, "0.9.1", {"A": False})
    known = program.with_release(known, "0.11.0rc3", {"C": True})
    assert known["releases"] == ["0.9.1", "0.11.0rc3", "0.11.0"]
    assert known["vllm"] == {"A": "k-p", "B": "--k", "C": "-p-"}
    assert program.with_release(known, "0.11.0rc3", {})["vllm"] == {"A": "k-p", "B": "--k"}
    assert program.with_release(known, "v0.9.1", {"A": True})["vllm_ascend"] == {"v0.9.1": {"A": "p"}}
