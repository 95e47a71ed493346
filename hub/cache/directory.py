"""A directory of entries, one file each. Everything here blocks: it is called in threads.

    <cache_dir>/3f7/capital_of_France-3f7a…-06532b8c1f2a40d41d8cd9-only.json

The first part of a name is the beginning of the identifier, for people who look; then half of the key; then the
instant in microseconds with a random tail, so that no two names are the same. Names in their order are a key's entries
in theirs. One that ends in `only` voids those before it, which are then removed; one in `kept` leaves them readable. So
it makes no difference in which order several processes write and remove. The parent is the key's first three digits.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from hub.cache.entry import CacheEntry, decode_entry, encode_entry
from hub.errors import CacheEntryError, CacheError

__all__ = ("Directory", "EntryFile", "file_stem")

LEFT_BEHIND_SECONDS = 3600.0
"""After it a temporary file belongs to a process that was killed."""

READ_AGAIN_SECONDS = 60.0
"""How old the mark of the last reading may grow, which costs a write."""

_TEMPORARY = ".new-"
_SHARD = re.compile(r"[0-9a-f]{3}")
_NAME = re.compile(
    r"[A-Za-z0-9_-]*-(?P<digest>[0-9a-f]{32})-(?P<stamp>[0-9a-f]{14})(?P<tail>[0-9a-f]{8})-(?P<kind>only|kept)\.json"
)
_KEY = re.compile(r"[0-9a-f]{64}")
_LEGIBLE_CHARS = 60  # with the rest 126: eCryptfs takes 143, other file systems 255


def file_stem(identifier: str) -> str:
    """The beginning of an identifier as a part of a file's name, on any system; `entry` where nothing of it is left.

    No dot, so that neither `..` nor a device of Windows (`con.txt`) can come of it.
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "_", identifier[:_LEGIBLE_CHARS]).strip("_-") or "entry"


@dataclass(frozen=True, slots=True)
class EntryFile:
    """One file. `stamp` is its instant in microseconds, `read_at` when it was read or written last, in Unix seconds."""

    path: Path
    stamp: int
    size_bytes: int
    read_at: float


@dataclass(frozen=True, slots=True)
class _Name:
    """One file of a key."""

    order: str
    kind: str
    path: Path

    @property
    def stamp(self) -> int:
        return int(self.order[:14], 16)


def _valid(names: list[_Name]) -> list[_Name]:
    """Those that no later one voids, of names in their order."""
    first = max((index for index, name in enumerate(names) if name.kind == "only"), default=0)
    return names[first:]


class Directory:
    """The files of entries below one directory. Other files are never touched. Any number of processes may use it.

    All methods raise `CacheError` where the file system does not let them.

    Args:
        path: Made where it is missing, for its owner alone.
        fsync: Wait until an entry is on the disk. Without it a power cut may lose or damage the latest entries, which
            then are misses; a crash of the process may not.
    """

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self.path = path
        self._fsync = fsync

    def make(self) -> None:
        """The directory is there, and can be written to."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.path / f"{_TEMPORARY}{secrets.token_hex(8)}"
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            probe.unlink()
        except OSError as exc:
            raise self._failed("written to", exc) from exc

    def read(self, key: str, *, after: int = 0, now: float = 0.0) -> CacheEntry | None:
        """The newest entry of a key; None where there is none with a stamp above `after`.

        Args:
            key: The key.
            after: A stamp.
            now: Unix seconds, to mark that it was read.

        Raises:
            CacheEntryError: The file is damaged, or an entry of another key.
        """
        # A file may have been replaced between looking and reading.
        for _ in range(5):
            found = _valid(self._of_key(key))
            if not found or found[-1].stamp <= after:
                return None
            entry = self._load(found[-1].path, now)
            if entry is not None:
                return _checked(entry, key)
        return None

    def older(self, key: str, *, after: int = 0) -> list[CacheEntry]:
        """The entries of a key but the newest, newest first; without those that are damaged, or not above `after`."""
        entries = []
        for name in _valid(self._of_key(key))[-2::-1]:
            entry = self.load(name.path) if name.stamp > after else None
            if entry is not None and entry.key == key:
                entries.append(entry)
        return entries

    def write(self, entry: CacheEntry, *, keep_older: bool, max_bytes: int) -> int:
        """Store an entry whole or not at all; the number of bytes it takes more than what it replaced.

        Raises:
            CacheError: It has more than `max_bytes`.
        """
        data = encode_entry(entry)
        if len(data) > max_bytes:
            raise CacheError(f"An answer of {len(data)} bytes is larger than the cache may be, {max_bytes} bytes.")
        digest = _digest(entry.key)
        try:
            before = self._of_key(entry.key)
            stamp = max(int(entry.created_at * 1e6), before[-1].stamp + 1 if before else 0)
            order = f"{stamp:014x}{secrets.token_hex(4)}"
            kind = "kept" if keep_older else "only"
            target = self._shard(digest) / f"{file_stem(entry.identifier)}-{digest}-{order}-{kind}.json"
            self._write_file(target, data)
            grown = len(data)
            if not keep_older:
                # Looked up anew: another process may have written, and its entry may have voided this one.
                names = self._of_key(entry.key)
                grown -= sum(self._remove(name.path) for name in names[: len(names) - len(_valid(names))])
        except OSError as exc:
            raise self._failed("written to", exc) from exc
        return grown

    def files(self) -> Iterator[EntryFile]:
        """Every file of an entry, in no order. A directory or a pipe of such a name is somebody else's."""
        for shard in self._shards():
            for item in self._scan(shard):
                match = _NAME.fullmatch(item.name)
                stat = self._stat(item) if match else None
                if match and stat is not None and _is_file(stat.st_mode):
                    yield EntryFile(Path(item.path), int(match["stamp"], 16), stat.st_size, stat.st_mtime)

    def load(self, path: Path) -> CacheEntry | None:
        """The entry of a file; None where it is gone or damaged."""
        try:
            return self._load(path, 0.0)
        except CacheEntryError:
            return None

    def remove(self, path: Path) -> bool:
        """Whether the file was there; it is no more."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise self._failed("written to", exc) from exc
        return True

    def remove_left_behind(self, *, now: float) -> None:
        """No temporary file of a process that was killed is left."""
        for shard in self._shards():
            for item in self._scan(shard):
                stat = self._stat(item) if item.name.startswith(_TEMPORARY) else None
                if stat is not None and stat.st_mtime < now - LEFT_BEHIND_SECONDS:
                    self.remove(Path(item.path))

    def _shard(self, digest: str) -> Path:
        return self.path / digest[:3]

    def _shards(self) -> Iterator[Path]:
        try:
            shards = [item for item in self.path.iterdir() if _SHARD.fullmatch(item.name)]
        except FileNotFoundError:
            return
        except OSError as exc:
            raise self._failed("read", exc) from exc
        yield from shards

    def _scan(self, shard: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(shard) as found:
                return list(found)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            raise self._failed("read", exc) from exc

    def _stat(self, item: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return item.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._failed("read", exc) from exc

    def _of_key(self, key: str) -> list[_Name]:
        """The files of a key, the newest last."""
        digest = _digest(key)
        shard = self._shard(digest)
        try:
            names = os.listdir(shard)  # noqa: PTH208 - most names are of other keys: no paths are made of them
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise self._failed("read", exc) from exc
        matches = (_NAME.fullmatch(name) for name in names if digest in name)
        found = (
            _Name(match["stamp"] + match["tail"], match["kind"], shard / match.string)
            for match in matches
            if match and match["digest"] == digest
        )
        return sorted(found, key=lambda name: name.order)

    def _load(self, path: Path, now: float) -> CacheEntry | None:
        """The entry of a file; None where it is gone."""
        try:
            # Without waiting: a pipe of that name would hold the thread until somebody writes to it.
            with open(path, "rb", opener=_open_at_once) as file:
                stat = os.fstat(file.fileno())
                if not S_ISREG(stat.st_mode):
                    raise CacheEntryError(f"What has an entry's name is no file: {path}.")
                data, read_at = file.read(), stat.st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError as exc:
            raise CacheEntryError(f"What has an entry's name is no file: {path}.") from exc
        except OSError as exc:
            raise self._failed("read", exc) from exc
        if now > read_at + READ_AGAIN_SECONDS:
            _touch(path, now)
        return decode_entry(data)

    def _write_file(self, target: Path, data: bytes) -> None:
        temporary = target.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            descriptor = self._create(temporary)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _create(self, path: Path) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _remove(self, path: Path) -> int:
        """How many bytes went."""
        try:
            stat = path.lstat()
        except FileNotFoundError:
            return 0
        return stat.st_size if _is_file(stat.st_mode) and self.remove(path) else 0

    def _failed(self, verb: str, exc: OSError) -> CacheError:
        return CacheError(f"The cache directory {self.path} can't be {verb}: {exc.strerror or exc}.")


def _digest(key: str) -> str:
    """Half of the key, which is enough for a name; of anything else, its own digest."""
    return (key if _KEY.fullmatch(key) else sha256(key.encode("utf-8", "surrogatepass")).hexdigest())[:32]


def _checked(entry: CacheEntry, key: str) -> CacheEntry:
    if entry.key != key:
        raise CacheEntryError("The entry is one of another key.")
    return entry


def _is_file(mode: int) -> bool:
    """Whether it can be an entry's file; a link is removed like one, and what it leads to stays."""
    return S_ISREG(mode) or S_ISLNK(mode)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _touch(path: Path, now: float) -> None:
    try:
        os.utime(path, (now, now))
    except OSError:
        # A directory that can only be read serves all the same.
        return
