"""Files that appear whole or not at all, on this machine and in object stores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"}  # see `upload`
PART = ".part"


@dataclass(frozen=True)
class RemotePath:
    """An object of a store, or a folder of them, in those words of `pathlib` that are needed.

    protocol: a store that fsspec knows, such as s3, gs, memory or file. key: what follows `protocol://`.
    """

    protocol: str
    key: str

    def __str__(self) -> str:
        return f"{self.protocol}://{self.key}"

    def __fspath__(self) -> str:
        """For messages and suffixes; what opens files takes a `local_copy`."""
        return str(self)

    def __truediv__(self, name: str | os.PathLike[str]) -> RemotePath:
        return replace(self, key=str(self._pure / PurePosixPath(Path(name).as_posix())))

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.key)

    @property
    def name(self) -> str:
        """The last part."""
        return self._pure.name

    @property
    def suffix(self) -> str:
        """The last part's, with its dot."""
        return self._pure.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the key."""
        return self._pure.parts

    @property
    def parent(self) -> RemotePath:
        """The folder it is in."""
        return replace(self, key=str(self._pure.parent))

    def with_suffix(self, suffix: str) -> RemotePath:
        """The same with another suffix."""
        return replace(self, key=str(self._pure.with_suffix(suffix)))

    def is_absolute(self) -> bool:
        """Always: it begins with its store."""
        return True

    def resolve(self) -> RemotePath:
        """Itself."""
        return self

    @property
    def store(self) -> Any:
        """The fsspec file system. Raises ValueError for one that cannot be had here, with the remedy."""
        try:
            import fsspec
        except ImportError as error:
            raise ValueError(f"{self} needs fsspec; pip install 'audiogen[ray]'") from error
        try:
            return fsspec.filesystem(self.protocol)
        except (ImportError, ValueError) as error:  # a store without its package, one that nobody knows
            raise ValueError(f"cannot open {self}: {error}") from error

    def exists(self) -> bool:
        """Whether there is such an object or folder, now: no listing is remembered."""
        self.store.invalidate_cache()
        return bool(self.store.exists(self.key))

    def is_dir(self) -> bool:
        """Whether objects lie below it."""
        return bool(self.store.isdir(self.key))

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Make the folder where the store has folders; parents too, and it may be there."""
        assert parents, "stores make all folders of a path"
        self.store.makedirs(self.key, exist_ok=exist_ok)

    def below(self) -> list[RemotePath]:
        """All objects below it, in order."""
        self.store.invalidate_cache()
        found = (self.store._strip_protocol(key) for key in self.store.find(self.key))
        base = self.store._strip_protocol(str(self))
        return [self / key.removeprefix(base).lstrip("/") for key in sorted(found)]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object."""
        return str(self.store.cat_file(self.key).decode(encoding))


Place = Path | RemotePath


def location(name: str | os.PathLike[str]) -> Place:
    """A place by its name: `store://key` lies in a store, all else on this machine."""
    protocol, mark, key = str(name).partition("://")
    return RemotePath(protocol, key) if mark and protocol.isalnum() else Path(name)


@contextmanager
def local_copy(place: str | os.PathLike[str]) -> Iterator[Path]:
    """A file of this machine with what is at a place: itself, or an object fetched as a whole for a while.

    Raises FileNotFoundError for an object that is not there.
    """
    found = location(place)
    if isinstance(found, Path):
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / found.name
        found.store.get_file(found.key, str(copy))
        yield copy


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`: renamed into place after the block, removed when the block raises.

    Readers find the old file or the whole new one, never a part. For an object of a store the temporary file
    lies on this machine, and is sent after the block (`upload`).
    """
    place = location(path)
    if not isinstance(place, Path):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / place.name
            upload(Path(folder) / place.name, place)
        return
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=PART)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private; a finished file should not be
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def upload(source: Path, target: RemotePath) -> None:
    """Send a file to a store so that it appears whole.

    Stores in WHOLE_PUTS show an object only when all of it has arrived. Others get it under a temporary name
    and rename it, which is one step in a file system (file, sftp, hdfs); a store that copies for want of a
    rename may show a part of the object for as long as that takes.
    """
    store = target.store
    if target.protocol in WHOLE_PUTS:
        store.put_file(str(source), target.key)
        return
    temporary = target.parent / f".{target.name}.{os.urandom(4).hex()}{PART}"
    try:
        store.put_file(str(source), temporary.key)
        store.mv(temporary.key, target.key)
    except BaseException:
        if store.exists(temporary.key):
            store.rm_file(temporary.key)
        raise


def sweep_parts(folder: Place, names: set[str]) -> None:
    """Remove the temporary files that killed writers of these names have left in a folder."""

    def left_over(name: str) -> bool:
        is_part = name.startswith(".") and name.endswith(PART)
        return is_part and name[1 : -len(PART)].rpartition(".")[0] in names

    if isinstance(folder, Path):
        for path in folder.glob(f".*{PART}"):
            if left_over(path.name):
                path.unlink(missing_ok=True)
    elif folder.protocol not in WHOLE_PUTS and folder.is_dir():
        folder.store.invalidate_cache()
        for key in folder.store.ls(folder.key, detail=False):
            if left_over(PurePosixPath(key).name):
                folder.store.rm_file(key)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
