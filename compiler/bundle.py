"""A Bundle is what `render` makes and `write` puts on disk: files in memory, and nothing else."""

from typing import NamedTuple


class File(NamedTuple):
    """One file of a bundle.

    Attributes:
        path: Where it lies, relative to the bundle's folder, with `/` between the parts.
        content: Its bytes.
        executable: True gives mode 0755, False 0644, whatever the umask.
    """

    path: str
    content: bytes
    executable: bool

    @property
    def mode(self) -> int:
        """The permission bits that the file gets on disk."""
        return 0o755 if self.executable else 0o644


class Bundle(NamedTuple):
    """Everything one cluster needs, whole.

    Attributes:
        name: The cluster's name, a DNS label: the bundle's folder is called like this.
        files: All files, sorted by path; `manifest.json` is one of them and lists the others.
    """

    name: str
    files: tuple[File, ...]
