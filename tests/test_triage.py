"""Why Ray or vLLM failed: each entry is found in a log of its kind, ranked, explained, and nothing is in a healthy log.

`UPDATE_DOCS=1` rewrites the tables of docs/failures.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from docs_text import ROOT, anchors, generated_parts, with_part
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import A2, two_nodes
from test_verification_doc import across

from compiler import look
from compiler.checks import known_names
from compiler.triage import MAX_EVIDENCE, MAX_FINDINGS, MAX_LINE, MAX_LOG, Finding, Log, triage
from compiler.triage_known import failures, signs
from compiler.triage_text import as_lines
from schema.failure import RANKS

if TYPE_CHECKING:
    from schema.failure import Failure

SAMPLES = ROOT / "tests" / "failures"
DOCUMENT = ROOT / "docs" / "failures.md"
PLAN = two_nodes(A2)  # node-0 is the head, 192.168.10.10, with NPUs 10.20.0.10 to 10.20.0.17; node-1 is 192.168.10.11
EACH = pytest.mark.parametrize("failure", failures(), ids=lambda failure: failure.code)
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def sample(code: str) -> Log:
    """A log of this failure, of the head where the role leaves it open."""
    failure = next(each for each in failures() if each.code == code)
    node, name = ("node-1", "container") if failure.role == "worker" else ("node-0", "serve.log")
    return Log(node, name, (SAMPLES / f"{code}.log").read_text(encoding="utf-8"))


def found(*logs: Log) -> list[str]:
    return [finding.code for finding in triage(logs, PLAN)]


def only(text: str, node: str = "node-0") -> Finding:
    [finding] = triage([Log(node, "serve.log", text)], PLAN)
    return finding


# ---- The entries ---------------------------------------------------------------------------------------


@EACH
def test_each_entry_is_found_first_in_a_log_of_its_kind(failure: Failure) -> None:
    assert found(sample(failure.code))[0] == failure.code


def test_every_sample_is_of_an_entry_and_codes_are_unique() -> None:
    codes = [failure.code for failure in failures()]
    assert len(codes) == len(set(codes))
    assert {path.stem for path in SAMPLES.iterdir()} == {*codes, "healthy-container", "healthy-serve"}


@EACH
def test_an_entry_names_real_checks_codes_and_a_source(failure: Failure) -> None:
    assert set(failure.checks) <= {*known_names(), *look.OURS, *across(), "tls[same]", "cache[shared]"}
    assert set(failure.diagnostics) <= anchors(ROOT / "docs" / "diagnostics.md")
    assert re.fullmatch(r"https://\S+", failure.source)
    assert failure.role in {"", "head", "worker"}
    assert not failure.cause.endswith(".")
    assert not failure.to_do.endswith(".")


@EACH
def test_every_pattern_of_an_entry_is_needed_and_repeats_with_a_bound(failure: Failure) -> None:
    for each in failure.says:
        re.compile(each)
        bare = re.sub(r"\\.|\[[^\]]*\]", "", each)
        assert not set("*+") & set(bare), "an unbounded repetition"
        assert ")" not in re.findall(r"(.)\{", bare), "a repetition of what repeats"
        assert all(int(most) <= 200 for most in re.findall(r"\{\d*,(\d+)\}", bare))
        assert signs(failure).search("") is None


def test_a_healthy_start_gives_no_finding() -> None:
    logs = [
        Log(node, name, (SAMPLES / f"healthy-{name}.log").read_text(encoding="utf-8"))
        for node in ("node-0", "node-1")
        for name in ("container", "serve")
    ]
    assert found(*logs) == []
    assert found() == []


# ---- Which is told first -------------------------------------------------------------------------------


def test_the_cause_is_told_before_what_waited_for_it() -> None:
    logs = [sample(code) for code in ("engine-failed", "507048", "EI0006", "EJ0002", "-8005", "shm")]
    assert found(*logs) == ["-8005", "EJ0002", "EI0006", "507048", "shm"]


def test_what_only_follows_is_told_where_nothing_nearer_is_known() -> None:
    follows = [failure.code for failure in failures() if failure.rank == "follows"]
    logs = [sample(code) for code in follows]
    assert found(*logs) == follows
    assert found(*logs, sample("shm")) == [*follows, "shm"]
    assert found(*logs, sample("placement-group")) == ["placement-group"]


def test_there_are_few_findings_however_much_fails() -> None:
    every = found(*(sample(failure.code) for failure in failures()))
    assert every == [failure.code for failure in failures()][:MAX_FINDINGS]


def test_the_file_is_in_the_order_of_the_ranks() -> None:
    ranks = [RANKS.index(failure.rank) for failure in failures()]
    assert ranks == sorted(ranks)


def test_ray_not_found_is_another_failure_on_the_head_than_on_a_worker() -> None:
    text = sample("gcs-unreachable").text
    assert found(Log("node-0", "container", text)) == ["address-not-owned"]
    assert found(Log("node-1", "container", text)) == ["gcs-unreachable"]


# ---- Where it was seen ---------------------------------------------------------------------------------


def test_a_workers_line_in_the_heads_log_is_the_workers() -> None:
    finding = only(sample("EJ0002").text)
    assert finding.node == "node-1"
    assert finding.evidence[0].startswith("node-0 serve.log: (RayWorkerWrapper pid=4711, ip=192.168.10.11) ERROR")
    assert only("(RayWorkerWrapper pid=1, ip=172.17.0.2) EJ0002: down").node == "node-0"


def test_one_finding_names_all_nodes_the_first_to_fail_first() -> None:
    late = Log("node-0", "plog", "[ERROR] HCCL(1,p):2026-11-24-09:20:00.000.001 EI0006: late\n")
    early = Log("node-1", "plog", "[ERROR] HCCL(1,p):2026-11-24-09:14:00.000.001 EI0006: early\n")
    [finding] = triage([late, early], PLAN)
    assert finding.nodes == ("node-1", "node-0")
    assert finding.node == "node-1, node-0"
    assert [line.split(": ")[-1] for line in finding.evidence] == ["early", "late"]


def test_evidence_is_a_few_lines_each_once_and_one_of_each_node_first() -> None:
    repeated = "EJ0002: the first\n" * 9 + "".join(f"EJ0002: {number}\n" for number in range(9))
    logs = [Log("node-0", "a", repeated), Log("node-1", "b", "EJ0002: another\n")]
    [finding] = triage(logs, PLAN)
    assert finding.evidence == ("node-0 a: EJ0002: the first", "node-1 b: EJ0002: another", "node-0 a: EJ0002: 0")
    assert len(finding.evidence) == MAX_EVIDENCE


def test_evidence_moves_no_cursor_and_is_short() -> None:
    [line] = only("\x1b[36mnoise\x1b[0m \x1b[2JEJ0002: \u202edown\x07 " + "x" * MAX_LINE).evidence
    assert line.startswith("node-0 serve.log: noise  [2JEJ0002:  down  xxx")
    assert len(line) == 300


# ---- What the logs say more exactly ----------------------------------------------------------------------


def rows(*pairs: tuple[str, str, str], closed: str = "| LinkInfo") -> str:
    """HCCL's table: for each row who was waited for, who waited, and the latter's TLS."""
    start = "[ERROR] HCCL(1,python3):2026-11-24-09:14:52.113.706 [hccl_socket_manager.cc:583] [2]   |  "
    return "".join(
        f"{start}{silent}   |  16666  |   {waiting}   |  344835272  |  client  | time out |   {tls}  {closed}\n"
        for silent, waiting, tls in pairs
    )


def test_the_table_of_links_is_told_in_the_plans_names() -> None:
    assert only(sample("EI0006").text).details == (
        "NPU 3 of node-1 (10.20.1.13) did not answer NPU 0 of node-0 (10.20.0.10)",
    )
    some = PLAN.nodes[1].npu_addresses[5]
    assert only(rows((f"{some}(13)", "10.9.9.9(4)", "UNKNOWN"), closed="|")).details == (
        "NPU 5 of node-1 (10.20.1.15) did not answer 10.9.9.9 (rank 4)",
    )


def test_ids_are_those_of_the_npus_that_are_used() -> None:
    head, worker = PLAN.nodes
    few = worker._replace(shape=worker.shape._replace(npus=(4, 6)), npu_addresses=("10.20.1.14", "10.20.1.16"))
    text = rows(("10.20.1.16(9)", "10.20.0.10(0)", "DISABLE"))
    [finding] = triage([Log("node-0", "plog", text)], PLAN._replace(nodes=(head, few)))
    assert finding.details == ("NPU 6 of node-1 (10.20.1.16) did not answer NPU 0 of node-0 (10.20.0.10)",)


def test_an_old_table_has_no_tls() -> None:
    text = "|  10.20.1.13(11)   |  16666  |   10.20.0.10(0)   |  0  |  server  | time out |\n"
    assert only(text).details == ("NPU 3 of node-1 (10.20.1.13) did not answer NPU 0 of node-0 (10.20.0.10)",)


def test_a_link_whose_silent_end_waits_for_nobody_is_told_first() -> None:
    chain = rows(
        ("10.20.0.11(1)", "10.20.0.10(0)", "DISABLE"),
        ("10.20.1.10(8)", "10.20.0.11(1)", "DISABLE"),
    )
    assert only(chain).details == (
        "NPU 0 of node-1 (10.20.1.10) did not answer NPU 1 of node-0 (10.20.0.11)",
        "NPU 1 of node-0 (10.20.0.11) did not answer NPU 0 of node-0 (10.20.0.10)",
    )


def test_many_links_are_counted() -> None:
    text = rows(*((f"10.20.1.1{npu}({npu + 8})", "10.20.0.10(0)", "DISABLE") for npu in range(8)))
    details = only(text + text).details
    assert len(details) == 5
    assert details[-1] == "and 4 more"


@pytest.mark.parametrize(
    ("here", "there", "told"),
    [
        ("ENABLE", "DISABLE", "on at NPU 0 of node-0 (10.20.0.10) and off at NPU 3 of node-1 (10.20.1.13)"),
        ("ENABLE", "UNKNOWN", "on at NPU 0 of node-0 (10.20.0.10): it must be so at the other end, too"),
        ("ENABLE", "ENABLE", ""),
        ("DISABLE", "DISABLE", ""),
        ("UNKNOWN", "UNKNOWN", ""),
    ],
)
def test_tls_that_differs_is_told(here: str, there: str, told: str) -> None:
    text = rows(("10.20.1.13(11)", "10.20.0.10(0)", here), ("10.20.0.10(0)", "10.20.1.13(11)", there))
    said = [line for line in only(text).details if "TLS" in line]
    assert bool(said) == bool(told)
    assert all(told in line for line in said)


def test_what_hccl_found_cut_off_is_told_in_the_plans_names() -> None:
    text = (
        "This node (server 192.168.10.10, device ID 1) detects that srcRank (server 192.168.10.10, device ID 1) "
        "fails to connect to dstRank (server 192.168.10.11, device ID 0). Continue to analyze the fault.\n"
    )
    assert only(text).details == (
        "device 0 of node-1 (192.168.10.11) did not answer device 1 of node-0 (192.168.10.10)",
    )


def test_other_details() -> None:
    assert only(sample("version-mismatch").text, "node-1").details == (
        "the cluster has Ray 2.48.0 and Python 3.11.13",
        "node-1 (192.168.10.11) has Ray 2.48.0 and Python 3.11.9",
    )
    heartbeat = triage([sample("heartbeat")], PLAN)[0]
    assert heartbeat.details == ("device 0 of node-0 (192.168.10.10): Stuck Occurred",)
    assert only(sample("hccl-buffsize").text).details == ("517 MB are needed, HCCL_BUFFSIZE gives 256",)
    assert only(sample("kv-cache").text).details == ("the longest context that fits has 42752 tokens",)


# ---- As people read it ---------------------------------------------------------------------------------


def test_findings_as_lines() -> None:
    down = Log("node-1", "serve.log", "EJ0002: the port is down\nEJ0002: still\n")
    assert as_lines(triage([down, sample("kv-cache")], PLAN)[1:], "my spec.yaml") == (
        "  cause      the network port of an NPU is down",
        "  seen       node-1 serve.log: EJ0002: the port is down",
        "             node-1 serve.log: EJ0002: still",
        "  to do      look at cable, optical module and switch port: hccn_tool -i NPU -link -g, then -optical -g",
        "  caught by  compiler verify 'my spec.yaml' --only link,flaps,optical,lldp",
        "  source     https://github.com/vllm-project/vllm-ascend/issues/1815",
    )
    assert as_lines(()) == ()


def test_two_findings_stand_apart() -> None:
    told = as_lines(triage([sample("kv-cache"), sample("shm")], PLAN))
    assert told[1] == "  namely     the longest context that fits has 42752 tokens"
    assert told.count("") == 1
    assert told[told.index("") + 1].startswith("  cause      /dev/shm of the container is smaller")
    at = told.index("  caught by  compiler verify SPEC --only memory")
    assert told[at + 1] == "             compiler check SPEC: small-shm"


def test_a_check_across_nodes_is_asked_for_by_its_name() -> None:
    assert "  caught by  compiler verify SPEC --only ping,tls,link,npu-address,clock" in as_lines(
        triage([sample("EI0006")], PLAN)
    )


def test_what_nothing_tells_before_launch_says_so() -> None:
    assert "  caught by  nothing before launch" in as_lines(triage([sample("EL0009")], PLAN))


def test_the_checks_that_are_advised_can_be_asked_for() -> None:
    words = {word for failure in failures() for word in (check.partition("[")[0] for check in failure.checks)}
    assert words <= {*known_names(), *look.OURS}


# ---- Hostile logs --------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(sample(failure.code).text[:400] for failure in failures()),
        "\n",
        "\r",
        "\x1b[31m",
        "|",
        "| 10.20.0.10(0) | 1 | 10.20.0.11(1) | 1 | client | time out | ENABLE |",
        "Version mismatch: The cluster was started with",
        "Ray: ",
        "ip=192.168.10.11",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=40), max_size=20).map("".join)


@settings(deadline=None)
@given(
    st.lists(st.builds(Log, st.sampled_from(["node-0", "node-1", "elsewhere"]), st.text(max_size=9), TEXTS), max_size=3)
)
def test_no_text_raises_or_reaches_the_terminal(logs: list[Log]) -> None:
    findings = triage(logs, PLAN)
    assert len(findings) <= MAX_FINDINGS
    assert all(0 < len(finding.evidence) <= MAX_EVIDENCE for finding in findings)
    assert not any(UNSEEN.search(line) for line in as_lines(findings))


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "hcclCommInitRootInfoConfig(",
        "Cluster Exception Location[IP/ID]:[1/1]",
        "The object store is using ",
        "EI0006:\n",
        "|  1.1.1.1(1) | ",
        "(RayWorkerWrapper pid=1, ip=192.168.10.11) EI0006: \n",
        "RayWorkerProc rank=",
        "\n",
    ],
)
def test_a_long_log_is_cheap(piece: str) -> None:
    text = piece * (2 * MAX_LOG // len(piece))
    start = time.process_time()
    triage([Log("node-0", "serve.log", text)], PLAN)
    assert time.process_time() - start < 20  # some 2 s here; anything that is not linear takes hours


def test_of_a_very_long_log_its_start_and_its_end_are_read() -> None:
    first, last = sample("EJ0002").text, sample("EJ0001").text
    assert found(Log("node-0", "plog", first + "noise\n" * (MAX_LOG // 3) + last)) == ["EJ0001", "EJ0002"]
    assert found(Log("node-0", "plog", "x" * MAX_LINE + first)) == []


def test_neither_docker_nor_the_entries_are_loaded_before_they_are_needed() -> None:
    program = (
        "import sys, compiler.triage, compiler.triage_text\n"
        "from compiler.triage_known import failures\n"
        "assert failures.cache_info().currsize == 0\n"
        "assert not {'docker', 'requests', 'pydantic', 'jinja2'} & set(sys.modules)\n"
    )
    subprocess.run((sys.executable, "-c", program), cwd=ROOT, check=True)


# ---- The document --------------------------------------------------------------------------------------


def table(rank: str) -> str:
    """The entries of one rank, as a table."""
    lines = [
        "| code | the log says | cause | what to do | caught by | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for failure in failures():
        if failure.rank == rank:
            cells = (f"`{failure.code}`", said(failure), failure.cause, failure.to_do, told_by(failure), link(failure))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def said(failure: Failure) -> str:
    """What a person would look for."""
    return "<br>".join(f"`{plainly(each)}`" for each in failure.says)


def plainly(pattern: str) -> str:
    """A pattern with what varies as `...`: it is to be read, not to be used."""
    text = re.sub(r"\(\?!.*?\)$|\[:\)\]$", "", pattern).replace(" {1,9}", " ")
    text = re.sub(r"\(\?:([^()|]*)\|[^()]*\)\??", r"\1", text).replace(r"(?:_EP)?", "")
    text = re.sub(r"(?:\\d|\[(?:\^.*?\\n|A-Z_|01)\])(?:\{[\d,]+\})?\??|\{[\d,]+\}", "...", text)
    return re.sub(r"\\(.)", r"\1", text).replace("|", "\\|")


def told_by(failure: Failure) -> str:
    checks = [f"`{check}`" for check in failure.checks]
    codes = [f"[{code}](diagnostics.md#{code})" for code in failure.diagnostics]
    parts = ([f"check {', '.join(checks)}"] if checks else []) + ([f"diagnostic {', '.join(codes)}"] if codes else [])
    return "; ".join(parts) or "nothing before launch"


def link(failure: Failure) -> str:
    issue = re.fullmatch(r"https://github\.com/[^/]+/([^/]+)/(?:issues|pull)/(\d+)", failure.source)
    name = f"{issue[1]}#{issue[2]}" if issue else failure.source.rpartition("/")[2].partition(".")[0]
    return f"[{name}]({failure.source})"


def test_the_tables_of_the_document_are_the_entries() -> None:
    tables = {f"failures of rank {rank}": table(rank) for rank in RANKS}
    written = DOCUMENT.read_text(encoding="utf-8")
    if "UPDATE_DOCS" in os.environ:
        for name, part in tables.items():
            written = with_part(written, name, part)
        DOCUMENT.write_text(written, encoding="utf-8")
    assert generated_parts(written) == tables
