"""A real sshd on an emulated host, and the keys with which a client gets in, or does not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hosts import child, host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hosts import Host

SSHD = """
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
"""
# A client's own settings, where ssh looks for them: in an /etc that only it sees.
CLIENT = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
printf '%s\\n' "UserKnownHostsFile $1/known" "IdentityFile $1/used" "IdentitiesOnly yes" >/etc/ssh/ssh_config
"""


def keys(folder: Path, *addresses: str) -> None:
    """Makes the keys: `host`, `client` which is let in, `stranger` which is not. A client goes by two more.

    `used` is a link to the key that it shows, and `known` says which hosts are the right ones: these.
    """
    for key in ("host", "client", "stranger"):
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key), check=True)
    (folder / "used").symlink_to("client")
    (folder / "known").write_text("".join(f"{each} {(folder / 'host.pub').read_text()}" for each in addresses))


@contextmanager
def laptop(network: str, folder: Path) -> Iterator[Host]:
    """A host for the program itself, whose ssh goes by the keys of that folder."""
    with host(CLIENT, folder, network=network, processes=False) as made:
        yield made


@contextmanager
def sshd(on: Host, address: str, folder: Path) -> Iterator[None]:
    """It listens at the host's address, with the keys of that folder."""
    (folder / "conf").write_text(SSHD.format(address=address, folder=folder))
    log = folder / "log"
    log.write_bytes(b"")
    daemon = on.start(log, "/usr/sbin/sshd", "-D", "-e", "-f", folder / "conf")
    try:
        while b"listening" not in log.read_bytes():
            assert daemon.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        os.kill(child(daemon.pid), signal.SIGTERM)
        daemon.wait()
