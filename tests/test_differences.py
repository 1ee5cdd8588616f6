"""Each field of a spec and each setting of a container: what is told when it, and it alone, has changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import scenes
from hostile import ANYTHING, ENV_VALUE, PATH, PRINTABLE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inspections import IMAGE, composed
from scenes import SECRETS, decided, found, healthy, inspected, on

from compiler import seen
from compiler.decide import Reason, Wishes
from compiler.decision_text import as_json, as_text, reason_text
from compiler.sight import Member
from compiler.standing import standing, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inspections import Document

    from compiler.decide import Decision
    from compiler.plan import Plan

PLAN = scenes.plan_of(scenes.spec())
NAMES = tuple(node.name for node in PLAN.nodes)
# What a terminal would act on, or what cannot be written at all; a line break ends a line of ours.
ODD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# How each of our own lines begins: what a daemon says can make none of its own.
LINE = re.compile("qwen3: |  [-+~=?!] |      |Nothing |Ray restarts |The service |[0-9]+ to |No container |$")
# The same examples on every machine and day, however busy it is.
STEADY = settings(deadline=None, derandomize=True, database=None, max_examples=60)


def reasons(plan: Plan, made_of: Plan = PLAN, node: str = "node-1") -> tuple[Reason, ...]:
    return decided(plan, healthy(plan, made_of)).of(node).reasons


# ---- Changed in the spec --------------------------------------------------------------------------------------


def put(*path: str, to: Any) -> Callable[[Document], None]:
    """Sets a field of the spec."""

    def change(document: Document) -> None:
        room = document
        for key in path[:-1]:
            room = room.setdefault(key, {})
        room[path[-1]] = to

    return change


def drop(*path: str) -> Callable[[Document], None]:
    """Takes a field out of the spec."""

    def change(document: Document) -> None:
        room = document
        for key in path[:-1]:
            room = room[key]
        del room[path[-1]]

    return change


def words(plan: Plan, node: str) -> str:
    return healthy(plan)[node].containers[0].traits["command"]


CHANGES: Mapping[str, tuple[Callable[[Document], None], tuple[Reason, ...]]] = {
    "env": (put("env", "OMP_NUM_THREADS", to="9"), (Reason("env.OMP_NUM_THREADS", "8", "9"),)),
    "env new": (put("env", "NEW", to="$x 'y'"), (Reason("env.NEW", None, "$x 'y'"),)),
    "env gone": (drop("env", "OMP_NUM_THREADS"), (Reason("env.OMP_NUM_THREADS", "(hidden)", None, hidden=True),)),
    "env of the image": (
        put("env", "ASCEND_HOME", to="/x"),
        (Reason("env.ASCEND_HOME", "/usr/local/Ascend", "/x"),),
    ),
    "image": (
        put("image", to="quay.io/ascend/vllm-ascend:v0.11.0-openeuler"),
        (),  # the daemon has the same image under that name
    ),
    "interface": (
        put("defaults", "interface", to="eth1"),
        (
            Reason("env.HCCL_SOCKET_IFNAME", "=eth0", "=eth1"),
            Reason("env.GLOO_SOCKET_IFNAME", "eth0", "eth1"),
            Reason("env.TP_SOCKET_IFNAME", "eth0", "eth1"),
        ),
    ),
    "hccl port": (put("ports", "hccl_base", to=61000), (Reason("env.HCCL_IF_BASE_PORT", "60000", "61000"),)),
    "shm_size": (put("container", "shm_size", to="32g"), (Reason("shm_size", str(16 << 30), str(32 << 30)),)),
    "shm_size in another unit": (put("container", "shm_size", to="16384m"), ()),
    "init": (put("container", "init", to=False), (Reason("init", "true", "false"),)),
    "device": (
        put("container", "devices", to=["/dev/infiniband"]),
        (Reason("devices./dev/infiniband", None, "/dev/infiniband (rwm)"),),
    ),
    "mount's source": (
        put("container", "mounts", to=[{"source": "/data/m2", "target": "/models"}]),
        (Reason("mounts./models", "/data/models (read-only)", "/data/m2 (read-only)"),),
    ),
    "mount writable": (
        put("container", "mounts", to=[{"source": "/data/models", "target": "/models", "read_only": False}]),
        (Reason("mounts./models", "/data/models (read-only)", "/data/models (writable)"),),
    ),
    "mount gone": (
        put("container", "mounts", to=[]),
        (Reason("mounts./models", "/data/models (read-only)", None),),
    ),
    "mount with a slash behind it": (
        put("container", "mounts", to=[{"source": "/data/models/", "target": "/models/"}]),
        (),
    ),
    "cache": (
        put("cache", to="/mnt/other"),
        (Reason("mounts./root/.cache", "/mnt/shared/cache (writable)", "/mnt/other (writable)"),),
    ),
    "ulimit": (
        put("container", "ulimits", to={"nofile": {"soft": 1, "hard": 2}}),
        (Reason("ulimits.nofile", "1048576:1048576", "1:2"),),
    ),
    "ulimit new": (put("container", "ulimits", to={"core": 0}), (Reason("ulimits.core", None, "0:0"),)),
    "stop": (put("timeouts", "stop", to=45), (Reason("stop_seconds", "30", "45"),)),
    "label": (put("defaults", "labels", to={"rack": "b-1"}), (Reason("labels.rack", "a-12", "b-1"),)),
    "label new": (put("defaults", "labels", to={"rack": "a-12", "u": "7"}), (Reason("labels.u", None, "7"),)),
    "label gone": (put("defaults", "labels", to={}), (Reason("labels.rack", "a-12", None),)),
    "secret gone": (drop("secrets"), (Reason("env.HF_TOKEN", "(hidden)", None, hidden=True),)),
    "secret under another name": (put("secrets", "HF_TOKEN", "from_env", to="OTHER"), ()),
    "served": (put("serve", "args", "max-model-len", to=4096), ()),
    "serve_ready": (
        put("timeouts", "serve_ready", to=7200),
        (Reason("env.VLLM_ENGINE_READY_TIMEOUT_S", "3600", "7200"),),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_spec_gives_exactly_its_reasons(name: str) -> None:
    change, expected = CHANGES[name]
    plan = scenes.changed(change)
    decision = decided(plan, healthy(plan, PLAN))
    for node in NAMES:
        assert decision.of(node).reasons == expected
        assert not decision.of(node).by_hand
        assert decision.of(node).verb == ("replace" if expected else "leave")


@pytest.mark.parametrize("name", CHANGES)
def test_the_way_back_is_told_the_other_way_round(name: str) -> None:
    change, expected = CHANGES[name]
    back = reasons(PLAN, scenes.changed(change))
    assert {each.what for each in back} == {each.what for each in expected}
    for each in back:
        other = next(one for one in expected if one.what == each.what)
        if not each.hidden and not other.hidden:
            assert (each.old, each.new) == (other.new, other.old)


@pytest.mark.parametrize(
    ("path", "to", "shown"),
    [
        (("ports", "ray"), 6390, "--port=6379"),
        (("ports", "worker_range"), [10002, 18000], "--max-worker-port=19999"),
        (("timeouts", "ray_start"), 300, " 120 600 "),
        (("timeouts", "ray_join"), 900, " 600 ray"),
    ],
)
def test_a_change_of_the_command_is_told_where_it_is(path: tuple[str, ...], to: Any, shown: str) -> None:
    """The words of `ray start` are many; those that differ must be among the ones that are shown."""
    plan = scenes.changed(put(*path, to=to))
    (reason,) = reasons(plan, node="node-0")
    assert reason == Reason("command", words(PLAN, "node-0"), words(plan, "node-0"))
    text = reason_text(reason)
    old, _, new = text.partition(" -> ")
    assert shown.strip() in old
    assert shown.strip() not in new
    assert len(text) < 250


def test_a_change_of_one_node_is_told_of_that_node_alone() -> None:
    plan = scenes.changed(lambda spec: spec["nodes"][1].update(env={"OMP_NUM_THREADS": "4"}))
    decision = decided(plan, healthy(plan, PLAN))
    assert [each.verb for each in decision.nodes] == ["leave", "replace", "leave"]
    assert decision.of("node-1").reasons == (Reason("env.OMP_NUM_THREADS", "8", "4"),)


def test_another_script_is_told_and_not_shown() -> None:
    document = found(PLAN, "node-1")
    document["Config"]["Cmd"][2] = "# of an older compiler\nray start\n"
    (reason,) = decided(PLAN, inspected(healthy(PLAN), "node-1", document)).of("node-1").reasons
    assert reason_text(reason) == "start script: another text"


@STEADY
@given(ENV_VALUE, ENV_VALUE)
@example("", "x")
@example("x", "x ")
@example("0", "00")
def test_any_value_of_a_variable_is_compared_to_the_byte(old: str, new: str) -> None:
    before = scenes.changed(put("env", "VALUE", to=old.replace("\r", "")))
    after = scenes.changed(put("env", "VALUE", to=new.replace("\r", "")))
    expected = () if before == after else (Reason("env.VALUE", old.replace("\r", ""), new.replace("\r", "")),)
    assert reasons(after, before) == expected
    if expected:
        shown, _, other = reason_text(expected[0]).removeprefix("env.VALUE: ").partition(" -> ")
        assert not ODD.search(shown + other)
        assert shown != other, "what differs is seen"


@STEADY
@given(PRINTABLE, PATH)
def test_any_label_and_any_mount_is_compared_to_the_byte(label: str, path: str) -> None:
    def change(document: Document) -> None:
        document["defaults"]["labels"] = {"rack": label}
        document["container"]["mounts"] = [{"source": path, "target": "/models"}]

    plan = scenes.changed(change)
    assert reasons(plan, plan) == ()
    labels = () if label == "a-12" else (Reason("labels.rack", "a-12", label),)
    mounts = (Reason("mounts./models", "/data/models (read-only)", f"{path} (read-only)"),)
    assert set(reasons(plan)) == {*labels, *mounts}


# ---- Changed by hand ------------------------------------------------------------------------------------------


def hand(room: str, key: str, to: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document[room][key] = to

    return change


BY_HAND: Mapping[str, tuple[Callable[[Document], None], str]] = {
    "memory": (hand("HostConfig", "Memory", 1 << 30), f"docker update.Memory: {1 << 30} -> (none)"),
    "cpus": (hand("HostConfig", "NanoCpus", 4_000_000_000), "docker update.NanoCpus: 4000000000 -> (none)"),
    "cpuset": (hand("HostConfig", "CpusetCpus", "0-3"), "docker update.CpusetCpus: 0-3 -> (none)"),
    "pids": (hand("HostConfig", "PidsLimit", 100), "docker update.PidsLimit: 100 -> (none)"),
    "restart": (
        hand("HostConfig", "RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        "restart: always -> no",
    ),
    "network": (hand("HostConfig", "NetworkMode", "bridge"), "network: bridge -> host"),
    "privileged": (hand("HostConfig", "Privileged", to=True), "privileged: true -> false"),
    "user": (hand("Config", "User", "1000"), "user: 1000 -> root"),
    "entrypoint": (hand("Config", "Entrypoint", ["sh", "-c"]), 'entrypoint: sh -c -> ""'),
    "shm": (hand("HostConfig", "ShmSize", 64 << 20), f"shm_size: {64 << 20} -> {16 << 30}"),
    "devices": (
        lambda document: document["HostConfig"]["Devices"].pop(0),
        "devices./dev/davinci0: (none) -> /dev/davinci0 (rwm)",
    ),
    "permissions": (
        lambda document: document["HostConfig"]["Devices"][0].update(CgroupPermissions="r"),
        "devices./dev/davinci0: /dev/davinci0 (r) -> /dev/davinci0 (rwm)",
    ),
    "another device at its place": (
        lambda document: document["HostConfig"]["Devices"][0].update(PathOnHost="/dev/null"),
        "devices./dev/davinci0: /dev/null (rwm) -> /dev/davinci0 (rwm)",
    ),
    "a bind": (
        hand("HostConfig", "Binds", ["/srv:/srv:ro,z"]),
        "mounts./srv: /srv (read-only) -> (none)",
    ),
    "env": (
        lambda document: document["Config"]["Env"].append("LD_PRELOAD=/lib/x.so"),
        "env.LD_PRELOAD: gone (hidden)",
    ),
    "stop": (lambda document: document["Config"].pop("StopTimeout"), "stop_seconds: 10 -> 30"),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_was_changed_by_hand_is_told_so(name: str) -> None:
    change, expected = BY_HAND[name]
    document = found(PLAN, "node-2")
    change(document)
    decision = decided(PLAN, inspected(healthy(PLAN), "node-2", document)).of("node-2")
    assert [reason_text(each) for each in decision.reasons] == [expected]
    assert decision.verb == "replace"
    assert decision.by_hand


def test_a_bind_in_the_short_form_is_the_same_mount() -> None:
    """As Compose 1.29 and `docker run -v` send it."""
    document = found(PLAN, "node-1")
    mounts = document["HostConfig"].pop("Mounts")
    document["HostConfig"]["Binds"] = [
        f"{each['Source']}:{each['Target']}:{'ro' if each.get('ReadOnly') else 'rw'}" for each in mounts
    ]
    assert not decided(PLAN, inspected(healthy(PLAN), "node-1", document)).of("node-1").changes


def test_the_default_limits_of_a_daemon_are_no_difference() -> None:
    """Docker 20.10 tells those of --default-ulimit as if they had been asked for."""
    sights = healthy(PLAN)
    for node in NAMES:
        document = found(PLAN, node)
        document["HostConfig"]["Ulimits"].append({"Name": "core", "Hard": 0, "Soft": 0})
        sights = inspected(sights, node, document)
    assert not decided(PLAN, sights).changes


@pytest.mark.parametrize("how", [composed, lambda document: document], ids=["compose", "apply"])
def test_labels_of_others_are_no_difference(how: Callable[[Document], Document]) -> None:
    document = how(found(PLAN, "node-1"))
    document["Config"]["Labels"]["desktop.docker.io/wsl-distro"] = "Debian"
    assert not decided(PLAN, inspected(healthy(PLAN), "node-1", document)).of("node-1").changes


def test_a_label_of_the_image_is_not_taken_for_one_of_an_older_spec() -> None:
    plan = scenes.changed(put("env", "OMP_NUM_THREADS", to="9"))
    sights = healthy(plan, PLAN)
    for node in NAMES:
        sights = inspected(sights, node, composed(found(PLAN, node)))
    assert [each.what for each in decided(plan, sights).of("node-1").reasons] == ["env.OMP_NUM_THREADS"]


def test_a_hash_alone_is_no_difference() -> None:
    """It is made of the same facts as the rest, written otherwise: by another release of this compiler, for one."""
    document = found(PLAN, "node-1")
    document["Config"]["Labels"]["ascend-cluster.config-hash"] = "0" * 64
    assert not decided(PLAN, inspected(healthy(PLAN), "node-1", document)).of("node-1").changes


def test_a_container_without_labels_is_not_ours() -> None:
    document = found(PLAN, "node-1")
    document["Config"]["Labels"] = None
    decision = decided(PLAN, inspected(healthy(PLAN), "node-1", document))
    assert decision.of("node-1").verb == "create"
    assert [fault.node for fault in decision.faults] == ["node-1"]


# ---- Images ---------------------------------------------------------------------------------------------------

OTHER = {
    "Id": "sha256:" + "beef" * 16,
    "RepoDigests": [],
    "Config": {"Env": ["PATH=/other", "VLLM=2"], "Entrypoint": ["tini"], "Labels": {"x": "y"}, "User": "u"},
}


def test_an_image_that_was_retagged_is_the_one_reason() -> None:
    """What else the other image brings says nothing of this container; and nobody changed it by hand."""
    decision = decided(PLAN, on(healthy(PLAN), "node-1", image=seen.image(OTHER))).of("node-1")
    assert decision.reasons == (Reason("image", "c0ffeec0ffee", "quay.io/ascend/vllm-ascend:v0.11.0 (beefbeefbeef)"),)
    assert not decision.by_hand


def test_another_image_in_the_spec_is_the_one_reason() -> None:
    plan = scenes.changed(put("image", to="quay.io/ascend/vllm-ascend:v0.12.0"))
    sights = on(healthy(plan, PLAN), "node-1", image=seen.image(OTHER))
    assert decided(plan, sights).of("node-1").reasons == (
        Reason("image", PLAN.container.image, f"{plan.container.image} (beefbeefbeef)"),
    )
    nowhere = on(sights, "node-1", image=None)
    assert decided(plan, nowhere).of("node-1").reasons == (Reason("image", PLAN.container.image, plan.container.image),)


def test_without_the_image_what_it_brings_is_no_difference() -> None:
    image = {**IMAGE, "Config": {**IMAGE["Config"], "Entrypoint": ["tini", "--"], "User": "ascend"}}
    sights = on(inspected(healthy(PLAN), "node-1", found(PLAN, "node-1", image=image)), "node-1", image=None)
    assert not decided(PLAN, sights).changes
    document = found(PLAN, "node-1", image=image)
    document["HostConfig"]["Init"] = False
    assert [each.what for each in decided(PLAN, inspected(sights, "node-1", document)).of("node-1").reasons] == ["init"]


# ---- Whatever a daemon says -----------------------------------------------------------------------------------

HOSTILE = ANYTHING | st.sampled_from(("\ud800", "a\x1b[2Jb", "\u202ex", "\x9b31m", "x\ny"))


@st.composite
def documents(draw: st.DrawFn) -> list[Document]:
    """Our container with odd text in it, beside somebody else's."""
    ours = found(PLAN, "node-1", Status=draw(st.sampled_from(("running", "exited", "created"))))
    ours["Config"]["Labels"] |= draw(st.dictionaries(HOSTILE, HOSTILE, max_size=3))
    ours["Config"]["Labels"]["ascend-cluster.config-hash"] = draw(HOSTILE)
    ours["Config"]["Env"] += [
        f"{name}={value}" for name, value in draw(st.dictionaries(HOSTILE, HOSTILE, max_size=3)).items()
    ]
    ours["Config"]["Cmd"] += draw(st.lists(HOSTILE, max_size=2))
    ours["Config"]["Image"], ours["State"]["Error"] = draw(HOSTILE), draw(HOSTILE)
    ours["State"]["Status"] = draw(st.sampled_from((ours["State"]["Status"], "running")) | HOSTILE)
    devices = draw(st.lists(HOSTILE | st.just("/dev/davinci1"), max_size=2))
    labels = draw(st.none() | st.dictionaries(HOSTILE | st.just("ascend-cluster.name"), HOSTILE, max_size=2))
    theirs = scenes.alien(draw(HOSTILE | st.just("qwen3")), devices=devices, labels=labels)
    ours["HostConfig"]["Mounts"].append({"Target": draw(HOSTILE), "Source": draw(HOSTILE)})
    ours["HostConfig"]["Ulimits"].append({"Name": draw(HOSTILE), "Soft": draw(HOSTILE), "Hard": 1})
    return draw(st.sampled_from(([ours], [theirs], [ours, theirs])))


def said(plan: Plan, decision: Decision) -> str:
    return as_text(plan, decision, colour=False) + as_json(plan, decision)


@settings(STEADY, max_examples=300)
@given(st.data())
def test_whatever_a_daemon_says_is_decided_and_told(data: st.DataObject) -> None:
    draw = data.draw
    member = Member(draw(HOSTILE), draw(HOSTILE), draw(HOSTILE))
    sights = inspected(healthy(PLAN), "node-1", *draw(documents()))
    sights = on(sights, "node-2", fault=draw(st.just("") | HOSTILE), to_do=draw(HOSTILE))
    view = sights["node-0"].view
    assert view is not None
    sights = on(sights, "node-0", view=draw(st.none() | st.just(view._replace(fault=draw(HOSTILE)))))
    gone = () if member.name in sights else (member,)
    sights |= {each.name: sights["node-1"]._replace(node=each.name) for each in gone}
    only = draw(st.sampled_from(((), ("node-1",), NAMES)))
    wishes = Wishes(only, serve=draw(st.booleans()), restart=draw(st.booleans()))
    decision = decided(PLAN, sights, gone=gone, secrets=draw(st.sampled_from(({}, SECRETS))), wishes=wishes)
    text = said(PLAN, decision)
    assert not ODD.search(text)
    assert all(LINE.match(line) for line in as_text(PLAN, decision, colour=False).splitlines())
    text.encode()
    for shown in (text, repr(decision), repr(sights)):
        assert scenes.CANARY not in shown
    stands = standing(PLAN, sights, decision)
    for each in stands.nodes:
        assert not ODD.search(told(each.differs) + each.container)
        assert "\n" not in told(each.differs) + each.container
