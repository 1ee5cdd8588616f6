"""What an engine tells of a container or an image, read as values."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import scenes
from hostile import ANYTHING
from hypothesis import given, settings
from hypothesis import strategies as st
from inspections import IMAGE, NEVER, composed, stamp
from scenes import found

from compiler import seen
from compiler.container import definition
from compiler.creation import HIDDEN, creation

if TYPE_CHECKING:
    from inspections import Document

    from compiler.plan import Plan

PLAN = scenes.plan_of(scenes.spec())
# What compiler.engine_fault turns into a fault of the engine; anything else would be a traceback.
READ_AS_FAULT = (ValueError, LookupError, TypeError, AttributeError)
STEADY = settings(deadline=None, derandomize=True, database=None, max_examples=300)


def body_of(plan: Plan, name: str) -> Document:
    return creation(definition(plan.container, plan.timeouts, scenes.node_of(plan, name)), scenes.SECRETS)


# ---- What is asked for is what is there -----------------------------------------------------------------------


def full(spec: Document) -> None:
    """A field of everything that a container can be given."""
    spec["container"] = {
        "mounts": [
            {"source": "/data/models", "target": "/models"},
            {"source": "/srv/out/", "target": "/out/", "read_only": False},
        ],
        "devices": ["/dev/infiniband"],
        "ulimits": {"core": 0, "stack": {"soft": 1, "hard": -1}},
        "privileged": True,
        "init": False,
        "shm_size": "1048576k",
    }
    spec["defaults"]["labels"] = {"rack": "a=1", "empty": ""}
    spec["env"] = {"EMPTY": "", "EQUALS": "a=b=c", "QUOTES": "'\"$x`", "SPACE": " x ", "PATH": "/opt/bin"}


@pytest.mark.parametrize("spec", ["plain", "full"])
@pytest.mark.parametrize("made_by", ["apply", "compose"])
@pytest.mark.parametrize("name", ["node-0", "node-1"])
def test_the_traits_asked_for_are_those_that_the_daemon_tells(spec: str, made_by: str, name: str) -> None:
    plan = PLAN if spec == "plain" else scenes.changed(full)
    document = found(plan, name) if made_by == "apply" else composed(found(plan, name))
    wanted = seen.desired(body_of(plan, name), seen.image(IMAGE))
    there = seen.container(document).traits
    assert {what: value for what, value in there.items() if what in wanted} == wanted
    others = ("labels.com.docker.compose.", "labels.org.opencontainers.")
    assert {what for what in there if what not in wanted and not what.startswith(others)} == set()


def test_every_setting_is_a_trait() -> None:
    """Each part of the body, but for the image, shows in the traits: none can change without being told."""
    body = body_of(PLAN, "node-1")
    before = seen.desired(body, None)
    told = 0
    for path, value in leaves(body):
        other = copy.deepcopy(body)
        room: Any = other
        for key in path[:-1]:
            room = room[key]
        room[path[-1]] = value + 1 if isinstance(value, int) else f"{value}x"
        differs = seen.desired(other, None) != before
        assert differs != (path[0] == "Image" or path[-1] in UNTOLD), path
        told += differs
    assert told > 90


# They are the same in every body, and no one can change them in a container.
UNTOLD = ("AttachStdout", "AttachStderr", "Type")


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Each value with the keys that lead to it; a truth is none, for plus one it may stay true."""
    rooms = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if isinstance(tree, str | int) and not isinstance(tree, bool):
        return [(path, tree)]
    return [leaf for key, value in rooms for leaf in leaves(value, (*path, key))]


@pytest.mark.parametrize("truth", ["Init", "Privileged"])
def test_every_truth_is_a_trait(truth: str) -> None:
    body = body_of(PLAN, "node-1")
    other = copy.deepcopy(body)
    other["HostConfig"][truth] = not body["HostConfig"][truth]
    assert seen.desired(other, None) != seen.desired(body, None)


def test_the_value_of_a_secret_that_is_not_at_hand_is_no_value_at_all() -> None:
    body = creation(definition(PLAN.container, PLAN.timeouts, PLAN.head), {})
    assert f"HF_TOKEN={HIDDEN}" in body["Env"]
    assert "\0" in HIDDEN  # no variable can hold one


# ---- A container ----------------------------------------------------------------------------------------------


def test_a_container() -> None:
    there = seen.container(found(PLAN, "node-1", age=60))
    assert there.name == "qwen3"
    assert there.image == IMAGE["Id"]
    assert there.reference == PLAN.container.image
    assert there.devices == scenes.node_of(PLAN, "node-1").shape.devices
    assert (there.label("name"), there.label("node"), there.label("role")) == ("qwen3", "node-1", "worker")
    assert there.label("rack") == ""  # not one of our own
    assert there.state == seen.State("running", started=scenes.NOW - 60)
    assert there.created == scenes.NOW - 61.5
    assert there.running
    assert not there.privileged


@pytest.mark.parametrize(
    ("state", "text", "running"),
    [
        ({}, "running", True),
        ({"OOMKilled": True}, "running", True),  # of a child, once
        ({"Status": "paused"}, "paused", True),
        ({"Status": "restarting", "ExitCode": 1}, "restarting", True),
        ({"Status": "created"}, "created", False),
        ({"Status": "removing"}, "removing", False),
        ({"Status": "dead"}, "dead", False),
        ({"Status": "exited"}, "exited with status 0", False),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True}, "exited with status 137, for want of memory", False),
        (
            {"Status": "exited", "ExitCode": 127, "Error": "OCI runtime:\n\x1b[31mno bash\x1b[0m"},
            "exited with status 127: OCI runtime: no bash",
            False,
        ),
    ],
)
def test_states(state: dict[str, Any], text: str, *, running: bool) -> None:
    there = seen.container(found(PLAN, "node-1", **state))
    assert there.state.text == text
    assert there.running == running


@pytest.mark.parametrize(
    ("state", "clause"),
    [
        ({"Status": "exited", "ExitCode": 1}, "has exited with status 1"),
        ({"Status": "created"}, "was never started"),
        ({"Status": "created", "Error": "no space"}, "was never started: no space"),
        ({"Status": "paused"}, "is paused"),
    ],
)
def test_what_is_said_of_a_container(state: dict[str, Any], clause: str) -> None:
    assert seen.container(found(PLAN, "node-1", **state)).state.clause == clause


def test_what_nobody_asked_for_is_dockers_own() -> None:
    """A container of `docker run IMAGE`; an older or newer engine may leave out what is not set."""
    own = {
        "shm_size": str(64 << 20),
        "stop_seconds": "10",
        "network": "default",
        "restart": "no",
        "user": "root",
        "init": "false",
        "privileged": "false",
    }
    document = scenes.alien("other")
    assert {name: seen.container(document).traits[name] for name in own} == own
    assert "devices" not in seen.container(document).traits
    document["HostConfig"] = {}
    assert {name: seen.container(document).traits[name] for name in own} == own


def test_a_container_that_was_never_started_has_no_time() -> None:
    document = found(PLAN, "node-1", Status="created")
    assert document["State"]["StartedAt"] == NEVER
    assert seen.container(document).state.started == 0.0


@pytest.mark.parametrize(("running", "status"), [(True, "running"), (False, "exited")])
def test_of_an_old_engine_that_tells_no_status_the_truth_is_taken(*, running: bool, status: str) -> None:
    document = found(PLAN, "node-1", Status=None)
    document["State"]["Running"] = running
    assert seen.container(document).state.status == status


def test_lists_that_are_null_are_empty() -> None:
    document = found(PLAN, "node-1")
    for room, keys in (
        ("Config", ("Env", "Cmd", "Labels", "Entrypoint")),
        ("HostConfig", ("Devices", "Mounts", "Ulimits")),
    ):
        document[room] |= dict.fromkeys(keys)
    there = seen.container(document)
    assert there.labels == {}
    assert there.devices == ()
    assert not [what for what in there.traits if what.startswith(("env.", "labels.", "mounts.", "ulimits."))]


def test_what_an_engine_leaves_out_is_none() -> None:
    document = found(PLAN, "node-1", Status="exited")
    for key in ("StartedAt", "Error", "OOMKilled", "ExitCode"):
        del document["State"][key]
    assert seen.container(document).state == seen.State("exited")


def test_a_container_is_shown_without_its_environment() -> None:
    there = seen.container(found(PLAN, "node-1"))
    assert scenes.CANARY in there.traits.values()
    assert "hf-canary" not in f"{there!r} {[there]} {there}"


# ---- Times ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-24T11:16:09.123456789Z", datetime(2026, 11, 24, 11, 16, 9, tzinfo=UTC).timestamp() + 0.123456789),
        ("2026-11-24T11:16:09.1Z", datetime(2026, 11, 24, 11, 16, 9, tzinfo=UTC).timestamp() + 0.1),
        ("2026-11-24T19:16:09.5+08:00", datetime(2026, 11, 24, 11, 16, 9, tzinfo=UTC).timestamp() + 0.5),
        ("2026-11-24T05:46:09-05:30", datetime(2026, 11, 24, 11, 16, 9, tzinfo=UTC).timestamp()),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert seen.moment(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-24", "2026-11-24T11:16:09", "2026-13-24T11:16:09Z", "2026-11-24T11:16:09.Z", "::::T-Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"month|format|no time"):
        seen.moment(text)


@STEADY
@given(st.floats(0, 4e9))
def test_each_time_comes_back(seconds: float) -> None:
    assert seen.moment(stamp(seconds)) == pytest.approx(seconds, abs=1e-5)


@STEADY
@given(st.from_regex(r"[-0-9:T]{0,25}(\.[0-9]{1,30})?(Z|[+-][0-9]{2}:[0-9]{2})", fullmatch=True) | ANYTHING)
def test_no_time_is_more_than_a_wrong_value(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(seen.moment(text), float)


# ---- Whatever an engine answers -------------------------------------------------------------------------------

ODD: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, -1, 10**30, 1e999, -1e999, float("nan"), "", "x", [], {}, [None], [[]], {"a": None})
)
JSON = ODD | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=5,
)


def rooms(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: what it is in, and its key there."""
    pairs = list(tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ())
    return [(tree, key) for key, _ in pairs] + [place for _, value in pairs for place in rooms(value)]


@settings(STEADY, max_examples=1500)
@given(st.data())
def test_an_odd_inspection_is_a_fault_or_a_container(data: st.DataObject) -> None:
    document = found(PLAN, "node-1", Status=data.draw(st.sampled_from(("running", "exited"))))
    document["Mounts"] = document["NetworkSettings"] = None  # not read
    for _ in range(data.draw(st.integers(1, 3))):
        room, key = data.draw(st.sampled_from(rooms(document)))
        if data.draw(st.booleans()) and isinstance(room, dict):
            del room[key]
        else:
            room[key] = data.draw(JSON)
    document = json.loads(json.dumps(document))  # as it comes: 1e999 and NaN are numbers there
    try:
        there = seen.container(document)
    except READ_AS_FAULT:
        return
    assert all(isinstance(value, str) for value in (*there.traits, *there.traits.values(), *there.labels.values()))
    assert isinstance(there.state.exit_code, int)
    repr(there).encode(errors="replace")


@STEADY
@given(JSON)
def test_what_is_no_inspection_at_all_is_a_fault(answer: Any) -> None:
    with pytest.raises(READ_AS_FAULT):
        seen.container(answer)
    with pytest.raises(READ_AS_FAULT):
        seen.image(answer)


@pytest.mark.parametrize("number", [1e999, float("nan"), 1.5, "137", [1], {}], ids=str)
def test_an_exit_code_is_a_whole_number(number: Any) -> None:
    document = found(PLAN, "node-1", Status="exited", ExitCode=number)
    if number == {}:  # as good as none
        assert seen.container(document).state.exit_code == 0
        return
    with pytest.raises(TypeError):
        seen.container(document)


# ---- An image -------------------------------------------------------------------------------------------------


def test_an_image() -> None:
    image = seen.image(IMAGE)
    assert image.id == IMAGE["Id"]
    assert image.digests == tuple(IMAGE["RepoDigests"])
    assert image.config == {
        "Env": IMAGE["Config"]["Env"],
        "Entrypoint": [],
        "User": "",
        "Labels": {"org.opencontainers.image.version": "22.04"},
    }


def test_what_the_body_says_goes_before_what_the_image_brings() -> None:
    body = {**body_of(PLAN, "node-1"), "Entrypoint": ["own"], "User": "me"}
    config = {"Env": ["OMP_NUM_THREADS=1", "THEIRS=2"], "Entrypoint": ["theirs"], "User": "you"}
    wanted = seen.desired(body, seen.image({"Id": "sha256:1", "Config": config}))
    names = ("entrypoint", "user", "env.OMP_NUM_THREADS", "env.THEIRS")
    assert [wanted[name] for name in names] == ["own", "me", "8", "2"]
    wanted = seen.desired(body_of(PLAN, "node-1"), seen.image({"Id": "sha256:1", "Config": config}))
    assert [wanted[name] for name in names] == ["theirs", "you", "8", "2"]


def test_an_image_that_was_loaded_from_a_file_has_no_digests() -> None:
    image = seen.image({"Id": "sha256:1", "RepoDigests": None, "Config": None})
    assert image == ("sha256:1", (), {"Env": [], "Entrypoint": [], "User": "", "Labels": {}})


@pytest.mark.parametrize("config", ["x", [1], {"Env": 5}, {"Entrypoint": 7}, {"Labels": "x"}], ids=str)
def test_an_image_with_an_odd_config_is_a_fault(config: Any) -> None:
    """While it is read, not when it is decided what it means."""
    with pytest.raises(READ_AS_FAULT):
        seen.image({"Id": "sha256:1", "Config": config})


@settings(STEADY, max_examples=300)
@given(st.data())
def test_an_odd_image_is_a_fault_or_an_image_that_can_be_judged(data: st.DataObject) -> None:
    document = copy.deepcopy(IMAGE)
    room, key = data.draw(st.sampled_from(rooms(document)))
    room[key] = data.draw(JSON)
    try:
        image = seen.image(json.loads(json.dumps(document)))
    except READ_AS_FAULT:
        return
    assert seen.desired(body_of(PLAN, "node-1"), image)["env.OMP_NUM_THREADS"] == "8"
