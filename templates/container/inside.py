"""What only shows from inside: run by `compiler` in the head's container, which has Ray, vLLM and the secrets.

    inside.py see    SETTINGS  what is served, whether it answers, and which nodes Ray has
    inside.py join   SETTINGS  wait until Ray has the planned nodes; then look from a worker on each of them
    inside.py ready  SETTINGS  follow serve.sh's log until the service answers a completion, or has ended
    inside.py stop   SETTINGS  end the service, and wait until it has ended

SETTINGS is JSON, or @FILE with it. The result is the line on stdout that begins with MARK, as JSON; what happens
meanwhile, lines on stderr. It runs with any Python from 3.9 on and needs nothing but Ray.
"""

import http.client
import json
import logging
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

CONFIG = os.environ.get("VLLM_CONFIG_ROOT") or os.path.join(
    os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "vllm"
)
LOCK = os.path.join(CONFIG, "serve.lock")  # serve.sh holds it open, and vllm after it
MAX_REPLY = 1 << 20
MARK = "\x1e"  # before the result: Ray prints on stdout, too
OK = 200
ALIVE_SECONDS = 5  # whoever listens hears something so often


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- The service --------------------------------------------------------------------------------------------


def service():
    """The process that serves, or waits to, with its command; None when there is none."""
    try:
        with open(LOCK, encoding="utf-8") as file:
            pid, _, command = file.read().partition("\n")
        folder = f"/proc/{int(pid)}/fd"
        held = any(os.path.realpath(f"{folder}/{each}") == os.path.realpath(LOCK) for each in os.listdir(folder))
    except (OSError, ValueError):
        return None
    if not held:
        return None
    try:
        words = json.loads(command)
    except ValueError:
        words = []
    return {"pid": int(pid), "command": words}


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def ask(port, model, seconds):
    """One real completion: /health and /v1/models answer 200 with dead workers, too (vllm issues 16259, 53157)."""
    began = time.monotonic()
    body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if os.environ.get("VLLM_API_KEY"):
        request.add_header("Authorization", "Bearer " + os.environ["VLLM_API_KEY"])
    told = {"status": 0, "text": "", "fault": ""}
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds) as reply:
            told["status"] = reply.status
            told["text"] = json.loads(reply.read(MAX_REPLY))["choices"][0]["text"]
    except urllib.error.HTTPError as error:
        told["status"] = error.code
        told["fault"] = f"HTTP {error.code}: {rest_of(error)}"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        late = isinstance(error, TimeoutError) or "timed out" in str(error)
        told["status"] = -1 if late else told["status"]
        told["fault"] = f"no answer within {seconds} s" if late else f"{type(error).__name__}: {error}"
    told["seconds"] = time.monotonic() - began
    return told


def rest_of(reply):
    """What else was said of an error; its status is what counts."""
    try:
        return reply.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


# ---- Ray ----------------------------------------------------------------------------------------------------


def connect(gcs):
    """Join Ray as a driver; without the first line ray.init() would take half a minute to see a dead head."""
    import ray

    socket.create_connection(tuple(gcs), 5).close()
    if not ray.is_initialized():
        ray.init(address="%s:%d" % tuple(gcs), log_to_driver=False, logging_level=logging.ERROR)
    return ray


def nodes(ray):
    """Every node that lives, as Ray has it."""
    return [
        {
            "id": node["NodeID"],
            "address": node["NodeManagerAddress"],
            "npus": node["Resources"].get("NPU", 0),
            "gpus": node["Resources"].get("GPU", 0),
        }
        for node in ray.nodes()
        if node["Alive"]
    ]


def see(settings):
    found = service()
    answer = None
    if found and listens(settings["port"]):
        answer = ask(settings["port"], settings["model"], settings["answer_seconds"])
    told = {"service": found, "answer": answer, "nodes": [], "fault": ""}
    try:
        told["nodes"] = nodes(connect(settings["gcs"]))
    except Exception as error:  # whatever it is: it is what is to be told
        told["fault"] = f"{type(error).__name__}: {error}"
    return told


def join(settings):
    """Waits for the nodes, then asks a worker on each: its environment, versions, and the head's mark in the cache."""
    deadline = time.monotonic() + settings["seconds"]
    told = None
    heard = 0.0
    while True:
        try:
            ray = connect(settings["gcs"])
            found, fault = nodes(ray), ""
        except Exception as error:
            found, fault = [], f"{type(error).__name__}: {error}"
        right = {
            node["address"]
            for node in found
            if node["npus"] == settings["npus"].get(node["address"]) and not node["gpus"]
        }
        as_planned = right == set(settings["npus"]) and len(found) == len(right)
        news = json.dumps({"nodes": found, "fault": fault})
        if news != told or time.monotonic() - heard > ALIVE_SECONDS:  # whoever listens knows that we are alive
            say(news)
            told, heard = news, time.monotonic()
        if as_planned:
            break
        if time.monotonic() > deadline:
            return {"nodes": found, "fault": fault, "inside": {}, "group": ""}
        time.sleep(1)
    inside = workers(ray, found, settings)
    group = "" if service() else placed(ray, settings["bundles"], settings["group_seconds"])
    return {"nodes": found, "fault": "", "inside": inside, "group": group}


def workers(ray, found, settings):
    """What a worker process on each node sees; by address."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def witness(names, mark):
        import os
        import platform

        import ray

        return {
            "environment": {name: os.environ.get(name) for name in names},
            "ray": ray.__version__,
            "python": platform.python_version(),
            "mark": os.path.exists(mark),
        }

    mark = settings["mark"]
    unmarked = ""
    try:
        with open(mark, "w", encoding="ascii"):
            pass
    except OSError as error:
        unmarked = f"{mark} cannot be written: {error.strerror}"
    remote = ray.remote(num_cpus=0, max_retries=0)(witness)
    asked = {}
    for node in found:
        where = NodeAffinitySchedulingStrategy(node["id"], soft=False)
        asked[remote.options(scheduling_strategy=where).remote(settings["names"], mark)] = node["address"]
    told = {}
    deadline = time.monotonic() + settings["worker_seconds"]
    waiting = list(asked)
    while waiting and time.monotonic() < deadline:
        done, waiting = ray.wait(waiting, timeout=2)
        for each in done:
            try:
                told[asked[each]] = ray.get(each)
            except Exception as error:
                told[asked[each]] = {"fault": f"{type(error).__name__}: {error}"}
        say(json.dumps({"workers": len(told)}))
    for each in waiting:
        told[asked[each]] = {"fault": "no worker was started there within %g s" % settings["worker_seconds"]}
    try:
        os.unlink(mark)
    except OSError:
        unmarked = unmarked or f"{mark} cannot be removed"
    if unmarked:
        told[settings["gcs"][0]]["fault"] = unmarked
    return told


def placed(ray, bundles, seconds):
    """Empty when a placement group as vLLM asks for it can be had; else what Ray said."""
    group = ray.util.placement_group([{"NPU": 1}] * bundles, strategy="PACK")
    try:
        if not group.wait(seconds):
            free = ray.available_resources().get("NPU", 0)
            return "not within %g s; %g NPU are free" % (seconds, free)
    finally:
        ray.util.remove_placement_group(group)
    for _ in range(100):
        if ray.available_resources().get("NPU", 0) >= bundles:
            break
        time.sleep(0.1)
    return ""


# ---- Until it serves ----------------------------------------------------------------------------------------


class Log:
    """What was added to a file since one last looked; one that took its place is another file."""

    def __init__(self, path):
        self.path = path
        self.file = None
        self.read = 0
        self.rest = b""

    def lines(self):
        try:
            with open(self.path, "rb") as file:
                its = os.fstat(file.fileno())
                if (its.st_dev, its.st_ino) != self.file or its.st_size < self.read:
                    self.file, self.read, self.rest = (its.st_dev, its.st_ino), 0, b""
                file.seek(self.read)
                new = file.read(1 << 20)
        except OSError:
            return
        self.read += len(new)
        *whole, self.rest = (self.rest + new).split(b"\n")
        for line in whole:
            self.say(line)

    def end(self):
        """All that is left: a process that was killed may not have come to the end of its line."""
        read = -1
        while read != self.read:
            read = self.read
            self.lines()
        if self.rest:
            self.say(self.rest)
            self.rest = b""

    @staticmethod
    def say(line):
        say("| " + line[:2000].decode(errors="replace"))


def ready(settings):
    """Until a completion comes, the service has ended, or the time is over."""
    began = time.monotonic()
    log, failed = Log(settings["log"]), 0
    answer = None
    while True:
        found = service()
        passed = time.monotonic() - began
        if found or passed > settings["start_seconds"]:  # before, the log may still be the last one's
            log.lines()
        if found is None and passed > settings["start_seconds"]:
            log.end()
            return {"ready": False, "ended": True, "answer": answer}
        if found and listens(settings["port"]):
            left = max(1, min(settings["answer_seconds"], settings["seconds"] - passed))
            answer = ask(settings["port"], settings["model"], left)
            log.lines()
            if answer["status"] == OK:
                return {"ready": not answer["fault"], "ended": False, "answer": answer}
            failed += 1
        if failed >= settings["failures"] or passed > settings["seconds"]:
            return {"ready": False, "ended": False, "answer": answer}
        say("")  # whoever listens knows that we are alive
        time.sleep(0.5)


def stop(settings):
    """Ends the process that serves, and all of its group when it leads one: an engine must not outlive its API server.

    An engine that did would keep its place in Ray, and the next one would wait for it in vain.
    """
    found = service()
    if found is None:
        return {"was": None}
    pid = found["pid"]
    which = {pid} | members(pid)
    signal_all(which, signal.SIGTERM)
    deadline = time.monotonic() + settings["seconds"]
    while which := {each for each in which | members(pid) if state(each)[0] != "Z"}:
        if time.monotonic() > deadline:
            signal_all(which, signal.SIGKILL)
        say("")
        time.sleep(0.2)
    return {"was": pid}


def state(pid):
    """How a process is, by its letter, and its group; one that is gone is as good as one that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            letter, _, group = file.read().rpartition(")")[2].split()[:3]
    except OSError:
        return "Z", 0
    return letter, int(group)


def members(group):
    return {int(each) for each in os.listdir("/proc") if each.isdigit() and state(each)[1] == group}


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    given = sys.argv[2]
    if given.startswith("@"):
        with open(given[1:], encoding="utf-8") as file:
            given = file.read()
    found = {"see": see, "join": join, "ready": ready, "stop": stop}[sys.argv[1]](json.loads(given))
    print(MARK + json.dumps(found), flush=True)
