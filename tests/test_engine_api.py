"""The emulated engine speaks what docker-py hears: a container's life, images, volumes, commands, logs, faults.

Whether a real engine says the same is asked in tests/rig/test_emulated.py.
"""

from __future__ import annotations

import io
import re
import socket
import tarfile
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest
import requests
from engine_api import Engine
from engine_faults import Cuts, Dies, Garbage, Hangs, Late, Says, Slow, Tears, fails, full
from engine_state import KILLED
from processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engine_api import Answer, Parts
    from engine_container import Exec
    from engine_faults import Fault

pytestmark = pytest.mark.usefixtures("sockets_left_by_docker_py")
IMAGE = "quay.io/ascend/vllm-ascend:v0.11.0"
DIGEST = "sha256:" + "cd" * 32
HELD = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
REFUSALS = (docker.errors.APIError, requests.RequestException)


def images() -> dict[str, dict[str, Any]]:
    return {
        IMAGE: {
            "Id": "sha256:" + "ab" * 32,
            "RepoDigests": [f"quay.io/ascend/vllm-ascend@{DIGEST}"],
            "Config": {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["bash"], "Labels": {"maintainer": "x"}},
        }
    }


def client(engine: Engine, seconds: int = 5) -> Any:
    made: Any = docker.APIClient(base_url=engine.url, version="1.41", timeout=seconds)
    made.trust_env = False
    return made


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(None, lambda words, script: (len(words), script or "out\n", "err\n"), images()) as running:
        yield running


@pytest.fixture
def api(engine: Engine) -> Iterator[Any]:
    with closing(client(engine)) as made:
        yield made


def create(api: Any, name: str = "head", host: dict[str, Any] | None = None, **config: Any) -> str:
    body = {"Image": IMAGE, "Cmd": ["sleep", "900"], "HostConfig": {"NetworkMode": "host", **(host or {})}, **config}
    return str(api.create_container_from_config(body, name)["Id"])


def running(api: Any, name: str = "head", host: dict[str, Any] | None = None, **config: Any) -> str:
    made = create(api, name, host, **config)
    api.start(made)
    return made


def refused(status: int, says: str, call: Callable[..., Any], *words: Any, **more: Any) -> None:
    with pytest.raises(docker.errors.APIError) as raised:
        call(*words, **more)
    assert (raised.value.status_code, raised.value.explanation) == (status, says)


# ---- Making a container --------------------------------------------------------------------------------


def test_a_container_is_what_was_asked_for_and_what_its_image_has(api: Any) -> None:
    mounts = [{"Type": "bind", "Source": "/mnt", "Target": "/m", "ReadOnly": True}]
    made = create(api, host={"Mounts": mounts, "ShmSize": 0, "Init": True}, Env=["FROM=me"], Labels={"a": "b"})
    for name in (made, made[:12], "head", "/head"):
        found = api.inspect_container(name.lstrip("/"))
        assert (found["Id"], found["Name"]) == (made, "/head")
    config, host = found["Config"], found["HostConfig"]
    assert config["Env"] == ["FROM=me", "PATH=/bin"]
    assert config["Labels"] == {"maintainer": "x", "a": "b"}
    assert (config["Cmd"], config["Entrypoint"], config["Image"]) == (["sleep", "900"], None, IMAGE)
    assert found["Image"] == images()[IMAGE]["Id"]
    assert (host["ShmSize"], host["Init"], host["RestartPolicy"]) == (
        64 << 20,
        True,
        {"Name": "", "MaximumRetryCount": 0},
    )
    (mount,) = found["Mounts"]
    assert (mount["Source"], mount["Destination"], mount["RW"]) == ("/mnt", "/m", False)
    assert found["State"]["Status"] == "created"
    assert found["State"]["StartedAt"] == "0001-01-01T00:00:00Z"


def test_without_a_command_the_image_has_one(api: Any) -> None:
    assert api.inspect_container(create(api, Cmd=None))["Config"]["Cmd"] == ["bash"]
    assert api.inspect_container(create(api, "other", Cmd=None, Entrypoint=["cat"]))["Config"]["Cmd"] is None


def test_a_name_that_is_taken(api: Any) -> None:
    made = create(api)
    taken = (
        f'Conflict. The container name "/head" is already in use by container "{made}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    refused(409, taken, create, api)
    other = create(api, "next")
    refused(409, f"Error when allocating new name: {taken}", api.rename, other, "head")
    api.rename(made, "old")
    api.rename(other, "head")
    assert api.inspect_container("head")["Id"] == other


def test_what_cannot_be_made(engine: Engine, api: Any) -> None:
    engine.missing.add("/mnt/cash")
    mounts = [{"Type": "bind", "Source": "/mnt/cash", "Target": "/m"}]
    cause = 'invalid mount config for type "bind": bind source path does not exist: /mnt/cash'
    refused(400, cause, create, api, host={"Mounts": mounts})
    refused(400, "invalid restart policy 'odd'", create, api, host={"RestartPolicy": {"Name": "odd"}})
    refused(400, "Invalid container name (b c), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", create, api, "b c")
    with pytest.raises(docker.errors.ImageNotFound, match="No such image: other:1"):
        create(api, Image="other:1")
    assert engine.containers == {}


def test_what_cannot_be_started(engine: Engine, api: Any) -> None:
    engine.missing.add("/dev/davinci9")
    engine.absent.add("nosuch")
    device = {"PathOnHost": "/dev/davinci9", "PathInContainer": "/dev/davinci9", "CgroupPermissions": "rwm"}
    create(api, host={"Devices": [device]})
    cause = 'error gathering device information while adding custom device "/dev/davinci9": no such file or directory'
    refused(500, cause, api.start, "head")
    state = api.inspect_container("head")["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 128, cause)
    create(api, "gone", {"AutoRemove": True}, Cmd=["nosuch"])
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        api.start("gone")
    refused(404, "No such container: gone", api.inspect_container, "gone")


# ---- Its life ------------------------------------------------------------------------------------------


def test_started_and_stopped_once(engine: Engine, api: Any) -> None:
    made = create(api)
    assert [api.post(f"{engine.url.replace('tcp', 'http')}/containers/{made}/{word}").status_code for word in (
        "start", "start", "stop", "stop",
    )] == [204, 304, 204, 304]  # fmt: skip
    state = api.inspect_container(made)["State"]
    assert (state["Status"], state["Running"], state["ExitCode"], state["Pid"]) == ("exited", False, 0, 0)
    api.restart(made)
    assert api.inspect_container(made)["State"]["Running"]
    assert api.inspect_container(made)["State"]["Pid"] > 0


def test_one_that_takes_longer_than_it_gets_is_killed(engine: Engine, api: Any) -> None:
    running(api)
    engine.containers["head"].takes = 0.2
    began = time.monotonic()
    api.stop("head", timeout=5)
    assert 0.2 <= time.monotonic() - began < 2
    assert engine.containers["head"].exit_code == 0
    api.start("head")
    engine.containers["head"].takes = 30
    api.stop("head", timeout=0)
    assert engine.containers["head"].exit_code == KILLED


def test_killed_by_a_signal_that_ends_it(api: Any) -> None:
    made = running(api)
    api.kill(made, "SIGWINCH")
    assert api.inspect_container(made)["State"]["Running"]
    refused(400, "Invalid signal: SIGODD", api.kill, made, "SIGODD")
    api.kill(made)
    assert api.inspect_container(made)["State"]["ExitCode"] == KILLED
    refused(409, f"Cannot kill container: {made}: Container {made} is not running", api.kill, made)


def test_removed_when_it_does_not_run_or_by_force(api: Any) -> None:
    made = running(api)
    cause = f"You cannot remove a running container {made}. "
    to_do = "Stop the container before attempting removal or force remove"
    refused(409, cause + to_do, api.remove_container, "head")
    api.remove_container("head", force=True, v=True)
    for call in (api.inspect_container, api.start, api.stop, api.restart, api.remove_container, api.wait):
        refused(404, "No such container: head", call, "head")


def test_one_with_auto_remove_is_gone_after_its_end_or_soon_after(engine: Engine, api: Any) -> None:
    running(api, host={"AutoRemove": True})
    api.stop("head")
    assert engine.containers == {}
    engine.world.removal = 0.3
    made = running(api, host={"AutoRemove": True})
    api.stop("head")
    state = api.inspect_container("head")["State"]
    assert (state["Status"], state["Dead"]) == ("removing", True)
    refused(409, "removal of container head is already in progress", api.remove_container, "head", force=True)
    with pytest.raises(docker.errors.APIError, match=f"already in use by container .*{made}"):
        create(api)
    until(lambda: not engine.containers)


def meanwhile(engine: Engine, asked: str, action: Callable[[], object]) -> None:
    """Does something once this question is under way."""
    before = engine.asked.count(asked)

    def wait() -> None:
        until(lambda: engine.asked.count(asked) > before)
        time.sleep(0.05)
        action()

    threading.Thread(target=wait).start()


def test_waiting_for_its_end(engine: Engine, api: Any) -> None:
    running(api)
    head, asked = engine.containers["head"], "POST /containers/head/wait"
    meanwhile(engine, asked, lambda: head.end(3))
    assert api.wait("head") == {"Error": None, "StatusCode": 3}
    assert api.wait("head")["StatusCode"] == 3

    def again() -> None:
        engine.world.run(head)
        head.end(4)

    meanwhile(engine, asked, again)
    assert api.wait("head", condition="next-exit")["StatusCode"] == 4
    meanwhile(engine, asked, lambda: engine.world.remove(head))
    assert api.wait("head", condition="removed")["StatusCode"] == 4


def test_listed_by_what_is_asked_for(api: Any) -> None:
    running(api, Labels={"ascend-cluster.name": "q", "ascend-cluster.role": "head"})
    create(api, "head-next", Labels={"ascend-cluster.name": "q"})
    create(api, "foreign")

    def names(**asked: Any) -> list[str]:
        return [each["Names"][0] for each in api.containers(**asked)]

    assert names() == ["/head"]
    assert names(all=True) == ["/foreign", "/head-next", "/head"]
    assert names(all=True, filters={"label": "ascend-cluster.name=q"}) == ["/head-next", "/head"]
    assert names(all=True, filters={"label": ["ascend-cluster.name", "ascend-cluster.role=head"]}) == ["/head"]
    assert names(all=True, filters={"name": "^/head$"}) == ["/head"]
    assert names(filters={"status": "created"}) == ["/foreign", "/head-next"]
    refused(400, "Invalid filter 'odd'", api.containers, filters={"odd": "x"})
    (entry,) = api.containers()
    assert (entry["State"], entry["Status"][:3]) == ("running", "Up ")
    assert entry["Labels"]["ascend-cluster.role"] == "head"


# ---- What it says --------------------------------------------------------------------------------------


def test_logs_by_stream_time_and_tail(engine: Engine, api: Any) -> None:
    running(api)
    head = engine.containers["head"]
    head.say("one\ntwo\n")
    middle = time.time()
    time.sleep(0.01)
    head.say("three\n", stream=2)
    assert api.logs("head") == b"one\ntwo\nthree\n"
    assert api.logs("head", stderr=False) == b"one\ntwo\n"
    assert api.logs("head", tail=2) == b"two\nthree\n"
    assert api.logs("head", tail=0) == b""
    assert api.logs("head", since=middle) == b"three\n"
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z three\n", api.logs("head", tail=1, timestamps=True))


def test_logs_are_followed_to_the_end(engine: Engine, api: Any) -> None:
    running(api)
    head = engine.containers["head"]
    head.say("before\n")
    followed = api.logs("head", stream=True, follow=True)
    assert next(followed) == b"before\n"
    head.say("now\n")
    assert next(followed) == b"now\n"
    head.end(1)
    assert list(followed) == []


def test_a_follower_that_left_is_let_go(engine: Engine, api: Any) -> None:
    running(api)
    followed = api.logs("head", stream=True, follow=True)
    engine.containers["head"].say("x\n")
    next(followed)
    inside = engine.door.open_now
    followed.close()
    until(lambda: engine.door.open_now == inside - 1)


# ---- A lock: a container that ends with who holds it ---------------------------------------------------


def let_go(holder: Any) -> None:
    """docker-py gives the file that reads from the socket: closing that leaves the connection open."""
    holder._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001
    holder._response.close()  # noqa: SLF001


def test_a_held_container_ends_with_its_holder(engine: Engine, api: Any) -> None:
    create(api, "lock", {"AutoRemove": True}, Cmd=["cat"], **HELD)
    holder = api.attach_socket("lock", params={"stdin": 1, "stream": 1})
    api.start("lock")
    holder._sock.sendall(b"me\n")  # noqa: SLF001
    until(lambda: api.logs("lock") == b"me\n")
    assert api.inspect_container("lock")["State"]["Running"]
    let_go(holder)
    until(lambda: not engine.containers)


def test_nobody_holds_what_nobody_is_attached_to(api: Any) -> None:
    running(api, "lock", {"AutoRemove": True}, Cmd=["cat"], **HELD)
    time.sleep(0.1)
    assert api.inspect_container("lock")["State"]["Running"]


def test_a_holder_that_left_before_the_start_leaves_nothing(engine: Engine, api: Any) -> None:
    create(api, "lock", {"AutoRemove": True}, Cmd=["cat"], **HELD)
    with closing(client(engine)) as other:
        holder = other.attach_socket("lock", params={"stdin": 1, "stream": 1})
        let_go(holder)
    until(lambda: engine.containers["lock"].closed)
    api.start("lock")
    assert engine.containers == {}


def test_a_holder_with_the_output_sees_the_end(api: Any) -> None:
    create(api, "lock", {"AutoRemove": True}, Cmd=["cat"], **HELD)
    holder = api.attach_socket("lock", params={"stdin": 1, "stdout": 1, "stream": 1})
    api.start("lock")
    holder._sock.sendall(b"me\n")  # noqa: SLF001
    assert holder.read(11) == b"\x01\x00\x00\x00\x00\x00\x00\x03me\n"
    api.remove_container("lock", force=True)
    assert holder.read(1) == b""


def test_nobody_attaches_to_what_is_not_there(api: Any) -> None:
    with pytest.raises(docker.errors.NotFound):
        api.attach_socket("lock", params={"stdin": 1, "stream": 1})


# ---- Files ---------------------------------------------------------------------------------------------


def tar(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def test_files_go_in_and_come_out(engine: Engine, api: Any) -> None:
    create(api)
    assert api.put_archive("head", "/tmp", tar(a="1", b="22"))  # noqa: S108
    assert {path: file.content for path, file in engine.containers["head"].files.items()} == {
        "/tmp/a": b"1",  # noqa: S108
        "/tmp/b": b"22",  # noqa: S108
    }
    parts, stat = api.get_archive("head", "/tmp/b")  # noqa: S108
    assert (stat["name"], stat["size"], stat["mode"]) == ("b", 2, 0o755)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
        assert archive.getnames() == ["b"]
    refused(404, "Could not find the file /none in container head", api.put_archive, "head", "/none", tar(a="1"))
    refused(404, "Could not find the file /none in container head", api.get_archive, "head", "/none")


# ---- Commands ------------------------------------------------------------------------------------------


def test_a_command_says_what_the_test_wants(api: Any) -> None:
    running(api)
    made = api.exec_create("head", ["echo", "x"])["Id"]
    found = api.exec_inspect(made)
    assert (found["Running"], found["ExitCode"], found["Pid"]) == (False, None, 0)
    assert api.exec_start(made, demux=True) == (b"out\n", b"err\n")
    found = api.exec_inspect(made)
    assert (found["Running"], found["ExitCode"], found["ProcessConfig"]["arguments"]) == (False, 2, ["x"])
    assert found["Pid"] > 0
    api.put_archive("head", "/", tar(script="the last file"))
    assert api.exec_start(api.exec_create("head", "bash", stderr=False)["Id"]) == b"the last file"


def parts(this: Exec) -> Parts:
    for number in range(3):
        yield 1, f"{this.environment['FROM']} {number}\n", 0.05
    return 7


def test_a_command_says_it_bit_by_bit_to_who_listens(engine: Engine, api: Any) -> None:
    engine.execute = parts
    running(api)
    made = api.exec_create("head", ["x"], environment={"FROM": "own"})["Id"]
    began, times = time.monotonic(), []
    for number, part in enumerate(api.exec_start(made, stream=True)):
        assert part == f"own {number}\n".encode()
        times.append(time.monotonic() - began)
    assert times[2] - times[0] > 0.08
    assert api.exec_inspect(made)["ExitCode"] == 7


def test_a_command_left_to_itself_runs_on(engine: Engine, api: Any) -> None:
    go = threading.Event()
    engine.execute = lambda _: (7 if go.wait(30) else 1, "", "")
    running(api)
    made = api.exec_create("head", ["x"], stdout=False, stderr=False)["Id"]
    assert api.exec_start(made, detach=True) == ""
    assert api.exec_inspect(made)["Running"]
    assert api.inspect_container("head")["ExecIDs"] == [made]
    refused(409, f"Error: Exec command {made} is already running", api.exec_start, made, detach=True)
    go.set()
    until(lambda: not api.exec_inspect(made)["Running"])
    assert api.exec_inspect(made)["ExitCode"] == 7
    assert api.inspect_container("head")["ExecIDs"] is None


def test_a_command_ends_with_its_container(engine: Engine, api: Any) -> None:
    def waits(_: Exec) -> Answer:
        engine.over.wait(30)
        return 0, "", ""

    engine.execute = waits
    running(api)
    made = api.exec_create("head", ["x"])["Id"]
    meanwhile(engine, "POST /exec/head/start", lambda: engine.containers["head"].end(KILLED))
    began = time.monotonic()
    assert api.exec_start(made) == b""
    assert time.monotonic() - began < 2
    assert api.exec_inspect(made)["ExitCode"] == KILLED
    refused(409, f"Container {engine.containers['head'].id} is not running", api.exec_create, "head", ["x"])


def test_a_command_whose_program_is_not_there(engine: Engine, api: Any) -> None:
    engine.absent.add("nosuch")
    running(api)
    made = api.exec_create("head", ["nosuch"])["Id"]
    assert b'exec: "nosuch": executable file not found in $PATH: unknown\r\n' in api.exec_start(made)
    assert api.exec_inspect(made)["ExitCode"] == 126
    with pytest.raises(docker.errors.APIError, match="OCI runtime exec failed"):
        api.exec_start(api.exec_create("head", ["nosuch"])["Id"], detach=True)


# ---- Images and volumes --------------------------------------------------------------------------------


def test_images_by_reference_id_and_digest(api: Any) -> None:
    for name in (IMAGE, "sha256:" + "ab" * 32, "ab" * 6, f"quay.io/ascend/vllm-ascend@{DIGEST}"):
        found = api.inspect_image(name)
        assert found["Id"] == "sha256:" + "ab" * 32
    assert (found["RepoTags"], found["RepoDigests"]) == ([IMAGE], [f"quay.io/ascend/vllm-ascend@{DIGEST}"])
    assert (found["Config"]["Env"], found["Config"]["Entrypoint"]) == (["PATH=/bin", "FROM=image"], None)
    (entry,) = api.images()
    assert (entry["Id"], entry["RepoTags"]) == (found["Id"], [IMAGE])
    with pytest.raises(docker.errors.ImageNotFound, match="no such image: a: No such image: a:latest"):
        api.inspect_image("a")


@pytest.mark.parametrize("wanted", ["quay.io/x/y:v1", f"quay.io/x/y@{DIGEST}"])
def test_a_pull_tells_how_far_it_is_and_then_the_image_is_there(engine: Engine, api: Any, wanted: str) -> None:
    engine.registry = {wanted: {"Id": "sha256:" + "ef" * 32}}
    lines = list(api.pull(wanted, stream=True, decode=True))
    assert lines[0]["status"] == "Pulling from x/y"
    assert any(line.get("progressDetail", {}).get("total") for line in lines)
    assert lines[-1]["status"] == f"Status: Downloaded newer image for {wanted}"
    found = api.inspect_image(wanted)
    assert found["RepoTags"] == ([] if "@" in wanted else [wanted])
    assert "Image is up to date" in api.pull(wanted)


def test_pulls_that_fail(engine: Engine, api: Any) -> None:
    cause = "manifest for quay.io/x/y:v1 not found: manifest unknown: manifest unknown"
    refused(404, cause, api.pull, "quay.io/x/y:v1")
    engine.registry = {"quay.io/x/y:v1": "unknown blob"}
    last = list(api.pull("quay.io/x/y:v1", stream=True, decode=True))[-1]
    assert last == {"errorDetail": {"message": "unknown blob"}, "error": "unknown blob"}
    engine.registry = None
    cause = 'Get "https://quay.io/v2/": dial tcp: lookup quay.io on 127.0.0.53:53: no such host'
    refused(500, cause, api.pull, "quay.io/x/y:v1")
    assert list(engine.images) == [IMAGE]


def test_volumes_keep_the_labels_that_they_were_made_with(api: Any) -> None:
    made = api.create_volume("q-members", labels={"members": "a,b"})
    assert api.create_volume("q-members", labels={"members": "c"}) == made
    assert made["Labels"] == {"members": "a,b"}
    api.create_volume("other")
    assert api.inspect_volume("q-members") == made
    assert api.volumes(filters={"label": "members=a,b"})["Volumes"] == [made]
    assert api.volumes(filters={"label": "members=c"})["Volumes"] == []
    holder = create(api, host={"Mounts": [{"Type": "volume", "Source": "q-members", "Target": "/v"}]})
    refused(409, f"remove q-members: volume is in use - [{holder}]", api.remove_volume, "q-members")
    api.remove_container(holder)
    api.remove_volume("q-members")
    refused(404, "get q-members: no such volume", api.inspect_volume, "q-members")
    refused(404, "get q-members: no such volume", api.remove_volume, "q-members")


# ---- Itself, and what was asked of it ------------------------------------------------------------------


def test_what_it_says_of_itself(engine: Engine, api: Any) -> None:
    engine.ahead = 100
    running(api)
    found = api.info()
    assert (found["ServerVersion"], found["ContainersRunning"], found["Images"]) == ("20.10.24", 1, 1)
    assert found["SystemTime"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 90))
    assert api.version()["ApiVersion"] == "1.41"
    assert api.ping() is True


def test_what_was_asked_is_kept_by_names_and_reads_change_nothing(engine: Engine, api: Any) -> None:
    made = create(api)
    api.start(made)
    seen = len(engine.changes)
    assert engine.changes == ["POST /containers/create", "POST /containers/head/start"]
    api.exec_start(api.exec_create(made, ["x"])["Id"])
    api.containers()
    meanwhile(engine, "POST /containers/head/wait", lambda: engine.containers["head"].end(0))
    api.wait(made)
    assert engine.asked[2:] == [
        "POST /containers/head/exec",
        "POST /exec/head/start",
        "GET /containers/json",
        "POST /containers/head/wait",
    ]
    assert len(engine.changes) == seen
    api.remove_container(made)
    assert engine.changes[seen:] == ["DELETE /containers/head"]


def test_connections_are_counted(engine: Engine, api: Any) -> None:
    api.info()
    api.version()
    assert (engine.door.opened, engine.door.most, engine.door.open_now) == (1, 1, 1)
    with closing(client(engine)) as other:
        other.info()
        assert engine.door.open_now == 2
    until(lambda: engine.door.open_now == 1)
    assert (engine.door.opened, engine.door.most) == (2, 2)


# ---- Faults --------------------------------------------------------------------------------------------

NOT_DONE: list[tuple[Fault, type[Exception], str]] = [
    (fails("create", "no", 503), docker.errors.APIError, "no"),
    (full(), docker.errors.APIError, "no space left on device"),
    (Cuts("create"), requests.ConnectionError, "without response|Connection"),
    (Hangs("create"), requests.ReadTimeout, "timed out"),
    (Garbage("create"), requests.ConnectionError, "BadStatusLine"),
    (Says("create", document=["odd"]), TypeError, "indices"),
    (Dies("create"), requests.ConnectionError, "without response|Connection"),
    (Slow("create", seconds=2), requests.ReadTimeout, "timed out"),
]


@pytest.mark.parametrize(("fault", "error", "says"), NOT_DONE, ids=[type(each).__name__ for each, *_ in NOT_DONE])
def test_what_is_not_done(engine: Engine, fault: Fault, error: type[Exception], says: str) -> None:
    engine.faults.append(fault)
    with closing(client(engine, 1)) as api:
        with pytest.raises(error, match=says):
            create(api)
        assert engine.containers == {}


DONE = [Late("create"), Cuts("create", done=True), Tears("create"), Dies("create", done=True)]


@pytest.mark.parametrize("fault", DONE, ids=lambda fault: type(fault).__name__)
def test_what_is_done_and_not_told(engine: Engine, fault: Fault) -> None:
    engine.faults.append(fault)
    with closing(client(engine, 1)) as api:
        with pytest.raises(requests.RequestException):
            create(api)
        assert list(engine.containers) == ["head"]
        assert engine.asked == ["POST /containers/create"]


def test_what_hung_is_done_when_the_engine_goes_on(engine: Engine, api: Any) -> None:
    hangs = Hangs()
    engine.faults.append(hangs)
    with closing(client(engine, 1)) as impatient, pytest.raises(requests.ReadTimeout):
        create(impatient)
    assert engine.containers == {}
    engine.faults.remove(hangs)
    until(lambda: engine.containers)
    with pytest.raises(docker.errors.APIError, match="Conflict"):
        create(api)


def test_the_nth_question_alone(engine: Engine, api: Any) -> None:
    engine.faults.append(fails("^GET /info$", "busy", after=1, times=2))
    api.info()
    for _ in range(2):
        refused(500, "busy", api.info)
    api.info()
    api.version()


def test_a_slow_answer_is_an_answer(engine: Engine, api: Any) -> None:
    engine.faults.append(Slow("^GET /info", seconds=0.2))
    began = time.monotonic()
    api.info()
    assert time.monotonic() - began >= 0.2


def test_a_disk_that_is_full_keeps_what_there_is(engine: Engine, api: Any) -> None:
    create(api)
    engine.faults.append(full())
    for call in (
        api.start,
        lambda name: api.rename(name, "other"),
        lambda name: api.put_archive(name, "/", tar(a="1")),
    ):
        with pytest.raises(docker.errors.APIError, match="no space left on device"):
            call("head")
    api.remove_container("head")
    assert engine.containers == {}


def test_a_death_cuts_all_off_and_what_ran_has_ended_when_it_comes_back(engine: Engine, api: Any) -> None:
    made = running(api)
    create(api, "lock", {"AutoRemove": True}, Cmd=["cat"], **HELD)
    holder = api.attach_socket("lock", params={"stdin": 1, "stream": 1})
    api.start("lock")
    followed = api.logs("head", stream=True, follow=True)
    engine.containers["head"].say("x\n")
    next(followed)
    engine.die()
    assert holder.read(1) == b""
    assert list(followed) == []
    with pytest.raises(requests.ConnectionError):
        api.info()
    until(lambda: engine.door.open_now == 0)
    engine.come_back()
    assert api.inspect_container("head")["Id"] == made
    assert api.inspect_container("head")["State"]["Status"] == "exited"
    refused(404, "No such container: lock", api.inspect_container, "lock")


def test_with_live_restore_containers_outlive_the_engine(engine: Engine, api: Any) -> None:
    running(api)
    engine.die()
    engine.come_back(live_restore=True)
    assert api.inspect_container("head")["State"]["Running"]


def test_one_that_forgot_everything(engine: Engine, api: Any) -> None:
    running(api)
    api.create_volume("q-members")
    engine.forget()
    assert api.containers(all=True) == []
    assert api.volumes()["Volumes"] == []
    assert len(api.images()) == 1


def test_a_stream_that_is_torn(engine: Engine, api: Any) -> None:
    running(api)
    made = api.exec_create("head", ["x"])["Id"]
    engine.faults.append(Tears("^POST /exec/head/start$", size=150))
    assert api.exec_start(made) != b"out\nerr\n"


# ---- Many ----------------------------------------------------------------------------------------------


def test_two_hundred_of_them_cost_little(tmp_path: Path) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        places = [tmp_path / str(number) if number % 2 else None for number in range(200)]
        engines = [stack.enter_context(Engine(place, lambda *_: (0, "", ""), images())) for place in places]
        assert time.monotonic() - began < 1
        for engine in engines[:20]:
            with closing(client(engine)) as api:
                assert api.inspect_container(running(api))["State"]["Running"]
        busy = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - busy < 0.1
    assert threading.active_count() < 50
