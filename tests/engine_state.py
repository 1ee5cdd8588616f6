"""What an emulated Docker engine has: containers, commands in them and volumes, and what becomes of them.

What becomes of what was recorded from Docker 20.10.24; tests/rig/test_emulated.py compares.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_container import Container, Exec

KILLED = 137  # 128 + SIGKILL


class World:
    """All that one engine has. Whoever changes anything in it holds `changed`.

    Attributes:
        now: The time by its clock, in seconds since the epoch.
        names: The name of each container that there was, by its id, and by that of each command in it.
        removal: Seconds that a container with AutoRemove needs to be gone after its end.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.removal = 0.0
        self.changed = threading.Condition()
        self.names: dict[str, str] = {}
        self.containers: dict[str, Container] = {}
        self.execs: dict[str, Exec] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self._pid = 1000

    def pid(self) -> int:
        """A process id that no other has."""
        with self.changed:
            self._pid += 1
            return self._pid

    def find(self, name: str) -> Container | None:
        """The container of this id, name or beginning of an id."""
        with self.changed:
            by_name = (each for each in self.containers.values() if each.name == name.lstrip("/"))
            by_id = (each for each in self.containers.values() if name and each.id.startswith(name))
            return self.containers.get(name) or next(by_name, None) or next(by_id, None)

    def run(self, container: Container) -> None:
        """Lets a container run; it ends at once when nobody can write to its stdin any more."""
        with self.changed:
            container.status, container.pid, container.started = "running", self.pid(), self.now()
            container.exit_code, container.error, container.out_of_memory = 0, "", False
            if container.closed:
                container.end(0)
            self.changed.notify_all()

    def ended(self, container: Container) -> None:
        """Ends what runs in a container that has ended, and removes it when it is to be."""
        with self.changed:
            for each in [each for each in self.execs.values() if each.container is container]:
                each.end(KILLED)
                if each.status is None:  # it was never started, and cannot be any more
                    del self.execs[each.id]
            if container.host["AutoRemove"] and container.id in self.containers:
                container.status = "removing"
                self._removed_later(container)
            self.changed.notify_all()

    def _removed_later(self, container: Container) -> None:
        if not self.removal:
            self.remove(container)
            return
        later = threading.Timer(self.removal, self.remove, (container,))
        later.daemon = True
        later.start()

    def remove(self, container: Container) -> None:
        """Removes a container, with all that runs in it."""
        with self.changed:
            if self.containers.pop(container.id, None) is None:
                return
            container.end(KILLED)
            container.status = "removed"
            self.execs = {name: each for name, each in self.execs.items() if each.container is not container}
            self.changed.notify_all()

    def users(self, volume: str) -> list[str]:
        """The ids of the containers that have a volume."""
        with self.changed:
            return [
                container.id
                for container in self.containers.values()
                if any(mount.get("Name") == volume for mount in container.mounts)
            ]
