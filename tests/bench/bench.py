"""What compiling costs, as ratios to the least that writing the same bytes costs, all in one run.

`bench.py` measures and rewrites docs/performance.md; `bench.py --check` measures the quick half and fails when a ratio
is well above the one written there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from specs import spec, with_all_changed, with_one_changed

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DOC, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
COMPILER = Path(sys.executable).with_name("compiler")
SIZES = (2, 100, 1_000, 10_000)
LARGEST = 10_000
HUGE = 100_000
WORSE = 1.3  # times the written ratio: more than two runs on a busy machine differ by
MIB = 1024  # KiB


class Cost(NamedTuple):
    """Seconds by the clock, seconds of the processors, MiB at most."""

    wall: float
    cpu: float
    memory: float


class Reached(NamedTuple):
    """A command that reaches nodes: its cost, what it asked of all engines, and most connections to one at a time."""

    cost: Cost
    requests: int
    connections: int


NAMES = "names"
ENGINES = 200
SLOW = 0.5  # seconds that the late engine takes for every answer
LATE = "plan, one engine late"
_REACHING = {
    "plan": ("plan",),
    "apply": ("apply", "--yes", "--skip-verify"),
    "apply again": ("apply", "--yes", "--skip-verify"),
    "status": ("status",),
    LATE: ("plan",),
    "down": ("down", "--yes"),
}


class Bench:
    """A folder in memory, where there is one, and what is measured in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        # Python keeps what it compiled, as it does unless it is told otherwise.
        own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.env = {**own, "COMPILER_CACHE_DIR": str(folder / "cache")}
        self.cold = {**own, "COMPILER_CACHE_DIR": ""}

    def run(self, *command: str | Path, env: dict[str, str] | None = None, code: int = 0) -> Cost:
        """One command's cost.

        Raises:
            RuntimeError: It ended otherwise than it should.
        """
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=env or self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder
        )
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        process.stderr.close()
        if process.returncode != code:
            raise RuntimeError(f"{command}: {process.returncode}: {said.decode()[-2000:]}")
        return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / MIB)

    def clear(self, *names: str) -> None:
        for name in names or ("out", "cache", "floor", "bare"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def render(self, file: Path) -> Cost:
        return self.run(COMPILER, "render", "--quiet", "-o", self.out, file)

    def size(self, nodes: int, form: str, rounds: int) -> dict[str, Cost]:
        """The best of several rounds of everything that is compared, for a cluster of this size."""
        file, text = self.folder / "spec.yaml", spec(nodes, form)
        others = {"one changed": with_one_changed(text), "all changed": with_all_changed(text)}
        file.write_text(text, encoding="utf-8")
        self.clear()
        self.render(file)
        self.run(sys.executable, HERE / "given.py", file, self.folder / "given")
        found: dict[str, list[Cost]] = {}
        for _ in range(rounds):
            bundle = self.out / "bench"
            for name, cost in zip(("floor", NAMES), self.floor(bundle), strict=True):
                found.setdefault(name, []).append(cost)
            self.clear("bare")
            bare = self.run(sys.executable, HERE / "bare.py", file, self.folder / "given", self.folder / "bare")
            found.setdefault("bare Jinja2 loop", []).append(bare)
            self.clear()
            found.setdefault("render", []).append(self.render(file))
            found.setdefault("unchanged", []).append(self.render(file))
            for name, other in others.items():
                file.write_text(other, encoding="utf-8")
                found.setdefault(name, []).append(self.render(file))
                file.write_text(text, encoding="utf-8")
                self.render(file)
        self.clear()
        return {name: _best(costs) for name, costs in found.items()}

    def floor(self, bundle: Path) -> list[Cost]:
        """The write loop, and second names for all of it."""
        self.clear("floor")
        command = (sys.executable, str(HERE / "floor.py"), str(bundle), str(self.folder / "floor"))
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [Cost(*map(float, line.split()), 0) for line in done.stdout.splitlines()]

    def start(self, rounds: int) -> dict[str, Cost]:
        """What starting costs: the best of several rounds, each of which runs every command once."""
        file = self.folder / "two.yaml"
        file.write_text(spec(2, "single"), encoding="utf-8")
        self.clear()
        self.run(COMPILER, "check", file)
        commands: dict[str, tuple[tuple[str | Path, ...], dict[str, str]]] = {
            "python -c pass": ((sys.executable, "-c", "pass"), self.cold),
            "--version": ((COMPILER, "--version"), self.cold),
            "--help": ((COMPILER, "--help"), self.cold),
            "check, 2 nodes": ((COMPILER, "check", file), self.cold),
            "check again": ((COMPILER, "check", file), self.env),
            "render, 2 nodes": ((COMPILER, "render", "-o", self.folder / "fresh", file), self.cold),
            "render again": ((COMPILER, "render", "-o", self.out, file), self.env),
        }
        found: dict[str, list[Cost]] = {}
        self.render(file)
        for _ in range(rounds):
            for name, (command, env) in commands.items():
                self.clear("fresh")
                found.setdefault(name, []).append(self.run(*command, env=env))
        self.clear()
        return {name: _best(costs) for name, costs in found.items()}

    def fault(self) -> Cost:
        """A fault near the end of sixty thousand lines, told alone and with its place."""
        file = self.folder / "fault.yaml"
        text = re.sub(
            r"npu_addresses: {(first: .*)}",
            r"npu_addresses:\n      \1\n    labels:\n      rack: a",
            spec(LARGEST, "single"),
        )
        before, entry, after = text.rpartition("    address: 10.")
        file.write_text(f"{before}    address: 310.{after}", encoding="utf-8")
        assert entry
        return self.run(COMPILER, "check", file, env=self.cold, code=1)

    def engines(self, count: int) -> dict[str, Reached]:
        """What the commands that reach nodes cost with so many emulated engines, by what was done."""
        program = (sys.executable, HERE / "engines.py", str(count))
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engines:
            assert engines.stdin is not None
            assert engines.stdout is not None
            file = engines.stdout.readline().strip()
            found = {}

            def ask(line: str) -> dict[str, int]:
                print(line, file=engines.stdin, flush=True)
                told: dict[str, int] = json.loads(engines.stdout.readline())  # type: ignore[union-attr]
                return told

            for name, words in _REACHING.items():
                if name == LATE:
                    ask(f"slow {SLOW}")
                cost = self.run(COMPILER, *words, "--quiet", file, env=self.cold)
                found[name] = Reached(cost, **ask("told"))
            engines.stdin.close()
        return found

    def huge(self) -> Cost | None:
        """A hundred thousand nodes, where there is room for them."""
        if shutil.disk_usage(self.folder).free < 12 * 2**30:
            return None
        file = self.folder / "huge.yaml"
        file.write_text(spec(HUGE, "single"), encoding="utf-8")
        cost = self.render(file)
        self.clear()
        return cost


def _best(costs: list[Cost]) -> Cost:
    return Cost(min(each.wall for each in costs), min(each.cpu for each in costs), min(each.memory for each in costs))


def measured(bench: Bench, *, quick: bool) -> dict[str, object]:
    """Everything, as plain data."""
    sizes: dict[str, dict[str, Cost]] = {}
    for form in ("single",) if quick else ("single", "ranges"):
        for nodes in (1_000, LARGEST) if quick else SIZES:
            print(f"{nodes} nodes, {form}", file=sys.stderr, flush=True)
            sizes[f"{nodes} {form}"] = bench.size(nodes, form, 3 if nodes >= 1_000 else 7)
    print("half the nodes, start, a fault", file=sys.stderr, flush=True)
    half = bench.size(LARGEST // 2, "single", 3)
    start = bench.start(11 if quick else 25)
    fault = _best([bench.fault() for _ in range(3)])
    print("engines", file=sys.stderr, flush=True)
    engines = {count: bench.engines(count) for count in (ENGINES // 10, ENGINES)}
    huge = None if quick else bench.huge()
    return {"sizes": sizes, "half": half, "start": start, "fault": fault, "huge": huge, "engines": engines}


class Ratio(NamedTuple):
    """A ratio, what it should be at most, and what it is a ratio of."""

    value: float
    target: float


def ratios(found: dict[str, object]) -> dict[str, Ratio]:
    """The ratios that have a target."""
    sizes: dict[str, dict[str, Cost]] = found["sizes"]  # type: ignore[assignment]
    start: dict[str, Cost] = found["start"]  # type: ignore[assignment]
    half: dict[str, Cost] = found["half"]  # type: ignore[assignment]
    fault: Cost = found["fault"]  # type: ignore[assignment]
    engines: dict[str, Reached] = found["engines"][ENGINES]  # type: ignore[index]
    alone = SLOW * engines["plan"].requests / ENGINES
    large = sizes[f"{LARGEST} single"]
    floor, unit = large["floor"].wall, start["python -c pass"].wall
    return {
        "10,000 nodes: render / write loop": Ratio(large["render"].wall / floor, 2),
        "10,000 nodes: render / bare Jinja2 loop": Ratio(large["render"].wall / large["bare Jinja2 loop"].wall, 1),
        "10,000 nodes: unchanged / write loop": Ratio(large["unchanged"].wall / floor, 0.5),
        "10,000 nodes: one changed / write loop": Ratio(large["one changed"].wall / floor, 0.7),
        "10,000 nodes: all changed / write loop": Ratio(large["all changed"].wall / floor, 2.5),
        "10,000 nodes: MiB": Ratio(large["render"].memory, 128),
        "10,000 nodes / 5,000 nodes": Ratio(large["render"].wall / half["render"].wall, 2.1),
        "--version / python -c pass": Ratio(start["--version"].wall / unit, 2.5),
        "--help / python -c pass": Ratio(start["--help"].wall / unit, 2.5),
        "check, 2 nodes / python -c pass": Ratio(start["check, 2 nodes"].wall / unit, 12),
        "check again / python -c pass": Ratio(start["check again"].wall / unit, 3),
        "render, 2 nodes / python -c pass": Ratio(start["render, 2 nodes"].wall / unit, 12),
        "render again / python -c pass": Ratio(start["render again"].wall / unit, 3),
        "a fault on line 59,991: seconds": Ratio(fault.wall, 2),
        "200 engines: apply, MiB": Ratio(engines["apply"].cost.memory, 128),
        "200 engines: connections to one": Ratio(max(each.connections for each in engines.values()), 3),
        "200 engines: plan, one late / that one alone": Ratio(engines[LATE].cost.wall / alone, 1.5),
    }


_RENDERS = ("render", "unchanged", "one changed", "all changed")


def tables(found: dict[str, object]) -> str:
    """What docs/performance.md shows between its marks."""
    lines = ["| what | measured | target |", "| --- | --- | --- |"]
    lines += [f"| {name} | {ratio.value:.2f} | {ratio.target:g} |" for name, ratio in ratios(found).items()]
    columns = (*_RENDERS, NAMES, "CPU", "MiB")
    lines += ["", f"| nodes | written as | write loop, ms | bare Jinja2 loop | {' | '.join(columns)} |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    sizes: dict[str, dict[str, Cost]] = found["sizes"]  # type: ignore[assignment]
    for size, costs in sizes.items():
        nodes, form = size.split()
        floor = costs["floor"]
        cells = [f"{costs[name].wall / floor.wall:.2f}" for name in ("bare Jinja2 loop", *_RENDERS, NAMES)]
        render = costs["render"]
        cells += [f"{render.cpu / floor.cpu:.2f}", f"{render.memory:.0f}"]
        lines.append(f"| {int(nodes):,} | {form} | {1000 * floor.wall:.1f} | {' | '.join(cells)} |")
    huge: Cost | None = found["huge"]  # type: ignore[assignment]
    told = f"{huge.wall:.0f} s, {huge.memory:.0f} MiB" if huge else "not measured: it needs 12 GiB"
    lines += ["", f"{HUGE:,} nodes: {told}."]
    lines += ["", "| engines | command | s | CPU s | MiB | requests | connections to one, at most |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    engines: dict[int, dict[str, Reached]] = found["engines"]  # type: ignore[assignment]
    for count, commands in engines.items():
        for name, (cost, requests, connections) in commands.items():
            shown = f"{cost.wall:.1f} | {cost.cpu:.1f} | {cost.memory:.0f} | {requests} | {connections}"
            lines.append(f"| {count} | {name} | {shown} |")
    return "\n".join(lines)


def draw(found: dict[str, object]) -> None:
    """The plot of the docs."""
    import matplotlib as mpl  # noqa: PLC0415 - only this needs it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    sizes: dict[str, dict[str, Cost]] = found["sizes"]  # type: ignore[assignment]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    styles = {
        "bare Jinja2 loop": ("#94a3b8", "s"),
        "render": ("#0f766e", "o"),
        "one changed": ("#d97706", "^"),
        "unchanged": ("#3b82f6", "v"),
        "floor": ("#0f172a", "x"),
    }
    for name, (colour, marker) in styles.items():
        label = "write loop (the floor)" if name == "floor" else name
        seconds = [sizes[f"{nodes} single"][name].wall for nodes in SIZES]
        left.plot(SIZES, seconds, marker=marker, color=colour, label=label)
    left.set(xscale="log", yscale="log", xlabel="nodes", ylabel="seconds", title="Time of the whole command")
    left.legend(frameon=False)
    start: dict[str, Cost] = found["start"]  # type: ignore[assignment]
    names = [name for name in start if name != "python -c pass"]
    values = [start[name].wall / start["python -c pass"].wall for name in names]
    bars = right.barh(names[::-1], values[::-1], color="#0f766e")
    right.bar_label(bars, fmt="%.1f", padding=3)
    right.set(xlabel="times `python -c pass`", title="Cold start")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


_MARKS = re.compile(r"(<!-- measured -->\n).*?(\n<!-- end -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([^|]+) \| ([0-9.]+) \| [0-9.]+ \|$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a ratio is well above the one in the docs")
    options = parser.parse_args()
    home = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=home) as folder:
        found = measured(Bench(Path(folder)), quick=options.check)
    written = {name: float(value) for name, value in _ROW.findall(DOC.read_text(encoding="utf-8"))}
    worse = []
    for name, (value, target) in ratios(found).items():
        met = "" if value <= target else f"  above its target of {target:g}"
        print(f"{name:45} {value:8.2f}{met}")
        if options.check and value > WORSE * written.get(name, target):
            worse.append(f"{name}: {value:.2f}, and the docs say {written.get(name, target):.2f}")
    if options.check:
        print(*worse, sep="\n", file=sys.stderr)
        return 1 if worse else 0
    text = DOC.read_text(encoding="utf-8")
    DOC.write_text(_MARKS.sub(lambda match: match[1] + tables(found) + match[2], text), encoding="utf-8")
    draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
