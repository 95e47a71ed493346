"""`hub cache`, as a person runs it: real processes, real terminals, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shlex
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from hub.cache.entry import CacheEntry, decode_entry
from hub.cache.filesystem import FilesystemCache
from hub.cache.opening import CacheBackend
from hub.cli.new_file import new_file
from hub.cli.parser import build_parser
from hub.errors import HubError, InvalidRequestError
from hub.testing import Gate, ScriptedEndpoint, json_reply, raw_reply
from tests.contracts.cache_backends import an_entry
from tests.hub.cache_command import environment, hub_cache

MINE = [an_entry("one"), an_entry("two", "漢字 😀\n\u2028")]
THEIRS = [an_entry("three", namespace="tenant-7")]


class Terminal:
    """What a person has in front of them: standard input and error of one process."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self.shown = ""
        self._master = master

    async def until(self, words: str) -> None:
        """These words are shown."""
        async with asyncio.timeout(40):
            while words not in self.shown:
                self.shown += (await asyncio.to_thread(os.read, self._master, 4096)).decode()

    def type(self, text: str) -> None:
        """Somebody types this."""
        os.write(self._master, text.encode())

    async def outcome(self) -> tuple[int, str]:
        """The exit code, and what came to standard output."""
        async with asyncio.timeout(40):
            out, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode()


@asynccontextmanager
async def terminal(*arguments: str, **variables: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub", "cache", *arguments),
        env=environment(**variables),
        stdin=slave,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
    )
    try:
        yield Terminal(process, master)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(slave)
        os.close(master)


def files(folder: Path, pattern: str = "*") -> list[Path]:
    """What is somewhere below a folder and matches."""
    return sorted(folder.rglob(pattern))


def file_of(folder: Path, identifier: str) -> Path:
    """The only file of an entry."""
    (path,) = files(folder, f"{identifier}-*.json")
    return path


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(os.listdir(folder))  # noqa: PTH208 - names alone


async def keep(folder: Path, *entries: CacheEntry) -> None:
    cache = FilesystemCache(folder)
    for entry in entries:
        await cache.put(entry, keep_older=True)
    await cache.aclose()


async def kept(folder: Path) -> set[str]:
    cache = FilesystemCache(folder)
    found = {entry.identifier async for entry in cache.entries()}
    await cache.aclose()
    return found


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """The directory of a cache with two entries without a tenant and one of a tenant."""
    await keep(tmp_path / "cache", *MINE, *THEIRS)
    return tmp_path / "cache"


def on(folder: Path) -> tuple[str, ...]:
    return ("--backend", "fs", "--dir", str(folder))


def exported(text: str) -> list[CacheEntry]:
    entries = [decode_entry(line.encode()) for line in text.split("\n")[:-1]]
    return sorted(entries, key=lambda entry: entry.identifier)


# stats


async def test_stats_say_where_how_many_and_how_much(folder: Path) -> None:
    code, out, err = await hub_cache("stats", *on(folder))
    shown = dict(line.split(maxsplit=1) for line in out.splitlines())
    size = sum(path.stat().st_size for path in files(folder, "*.json"))
    assert (code, err) == (0, "")
    assert shown == {"backend": "fs", "directory": str(folder), "entries": "3", "size": f"{size / 1000:.1f} KB"}


async def test_stats_for_programs_are_a_json_object_in_bytes(folder: Path) -> None:
    code, out, _ = await hub_cache("stats", "--json", *on(folder))
    size = sum(path.stat().st_size for path in files(folder, "*.json"))
    where = {"directory": str(folder)}
    assert code == 0
    assert json.loads(out) == {
        "backend": "fs", "where": where, "namespace": None, "entries": 3, "size_bytes": size
    }  # fmt: skip


async def test_stats_of_one_tenant_count_no_other_s(folder: Path) -> None:
    _, out, _ = await hub_cache("stats", "--json", "--namespace", "tenant-7", *on(folder))
    path = file_of(folder, "three")
    assert json.loads(out) | {"where": None} == {
        "backend": "fs", "where": None, "namespace": "tenant-7", "entries": 1, "size_bytes": path.stat().st_size
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "shown"),
    [(999, "999 bytes"), (999_949, "999.9 KB"), (999_950, "1.0 MB"), (2_500_000_000, "2.5 GB")],
)
async def test_a_size_has_the_unit_that_suits_it(size: int, shown: str, tmp_path: Path) -> None:
    await keep(tmp_path, MINE[0])
    path = file_of(tmp_path, "one")
    os.truncate(path, size)  # with a hole, which takes no room
    _, out, _ = await hub_cache("stats", *on(tmp_path))
    assert out.splitlines()[-1].split(maxsplit=1) == ["size", shown]


async def test_the_settings_are_a_client_s_and_options_win_over_them(folder: Path, tmp_path: Path) -> None:
    variables = {"CACHE_BACKEND": "fs", "CACHE_DIR": str(folder)}
    assert json.loads((await hub_cache("stats", "--json", **variables))[1])["entries"] == 3
    await keep(tmp_path / "other", MINE[0])
    _, out, _ = await hub_cache("stats", "--json", "--dir", str(tmp_path / "other"), **variables)
    assert json.loads(out)["entries"] == 1


async def test_settings_in_a_dotenv_file_count(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CACHE_BACKEND=fs\nCACHE_DIR=cache\n")
    code, out, _ = await hub_cache("stats", "--json", cwd=tmp_path, HUB_NO_DOTENV="")
    assert (code, json.loads(out)["entries"]) == (0, 3)


@pytest.mark.parametrize("action", ["stats", "clear --yes", "export", "export answers.jsonl"])
async def test_a_directory_that_is_not_there_is_told_and_not_made(action: str, tmp_path: Path) -> None:
    code, out, err = await hub_cache(*action.split(), *on(tmp_path / "none"), cwd=tmp_path)
    assert (code, out) == (1, "")
    assert str(tmp_path / "none") in err
    assert err.startswith("hub: ")
    assert err.count("\n") == 1
    assert names(tmp_path) == []


# What can't be


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        ([], {}, ["CACHE_BACKEND", "--backend"]),
        ([], {"CACHE_BACKEND": "none"}, ["CACHE_BACKEND", "--backend"]),
        (["--backend", "memory"], {}, ["lives in its process"]),
        ([], {"CACHE_BACKEND": "memory"}, ["lives in its process"]),
        ([], {"CACHE_BACKEND": "pigeon"}, ["CACHE_BACKEND"]),
        (["--backend", "pg_redis"], {}, ["PG_DSN"]),
        (["--backend", "qdrant"], {}, ["QDRANT_URL"]),
        (["--backend", "fs", "--dir", __file__], {}, ["can't be read"]),
    ],
)
@pytest.mark.parametrize("action", ["stats", "export"])
async def test_what_makes_no_sense_is_told_in_a_sentence(
    action: str, arguments: list[str], variables: dict[str, str], words: list[str]
) -> None:
    code, out, err = await hub_cache(action, *arguments, **variables)
    assert (code, out) == (1, "")
    assert all(word in err for word in words)
    assert err.startswith("hub: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("action", ["stats", "clear --yes --all", "export"])
@pytest.mark.parametrize("backend", ["pg_redis", "qdrant"])
async def test_a_server_that_is_away_is_told_without_its_password(backend: str, action: str) -> None:
    code, out, err = await hub_cache(
        *action.split(),
        *("--backend", backend),
        PG_DSN="postgresql://hub:hunter2@127.0.0.1:1/db",
        REDIS_URL="redis://:hunter2@127.0.0.1:1/0",
        QDRANT_URL="http://hub:hunter2@127.0.0.1:1",
        QDRANT_API_KEY="hunter2",
    )
    assert (code, out) == (1, "")
    assert "127.0.0.1:1 can't be reached" in err
    assert "hunter2" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["shrink"], ["stats", "--backend", "pigeon"], ["clear", "--all", "--namespace", "a"]]
)
async def test_wrong_usage_is_told_by_the_parser(arguments: list[str]) -> None:
    code, _, err = await hub_cache(*arguments)
    assert code == 2
    assert "usage: hub cache" in err


def test_every_back_end_can_be_named() -> None:
    for backend in set(get_args(CacheBackend)) - {"none"}:
        assert build_parser().parse_args(["cache", "stats", "--backend", backend]).backend == backend


# clear


async def test_clear_without_a_terminal_removes_nothing_unless_told_to(folder: Path) -> None:
    code, out, err = await hub_cache("clear", "--all", *on(folder))
    assert (code, out) == (1, "")
    assert "--yes" in err
    assert await kept(folder) == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("options", "namespace", "removed", "left"),
    [
        ([], "", "2 entries", {"three"}),
        ([], "tenant-7", "1 entry", {"one", "two"}),
        (["--namespace", "tenant-7"], "", "1 entry", {"one", "two"}),
        (["--namespace", ""], "tenant-7", "2 entries", {"three"}),
        (["--all"], "tenant-7", "3 entries", set()),
    ],
)
async def test_clear_removes_a_tenant_s_entries_or_all(
    options: list[str], namespace: str, removed: str, left: set[str], folder: Path
) -> None:
    code, out, err = await hub_cache("clear", "--yes", *options, *on(folder), CACHE_NAMESPACE=namespace)
    assert (code, out, err) == (0, f"{removed} removed\n", "")
    assert await kept(folder) == left


async def test_clear_says_where_the_entries_are_that_it_did_not_find(folder: Path) -> None:
    code, out, err = await hub_cache("clear", "--yes", "--namespace", "tenant-8", *on(folder))
    assert (code, out) == (0, "0 entries removed\n")
    assert "'tenant-8'" in err
    assert "3 entries" in err
    assert "--all" in err


@pytest.mark.parametrize(
    ("options", "question"),
    [
        (["--all"], "Remove 3 entries of every namespace from fs"),
        ([], "Remove 2 entries without a namespace from fs"),
        (["--namespace", "tenant-7"], "Remove 1 entry of the namespace 'tenant-7' from fs"),
    ],
)
async def test_clear_asks_at_a_terminal(options: list[str], question: str, folder: Path) -> None:
    before = await kept(folder)
    async with terminal("clear", *options, *on(folder)) as seen:
        await seen.until("? [y/N] ")
        assert question in seen.shown
        assert str(folder) in seen.shown
        assert await kept(folder) == before
        seen.type("y\n")
        code, out = await seen.outcome()
    assert code == 0
    assert out.split()[0] == question.split()[1]
    assert len(await kept(folder)) == 3 - int(out.split()[0])


@pytest.mark.parametrize(("answer", "code"), [(" YES ", 0), ("", 1), ("n", 1), ("yeah", 1), ("\x04", 1)])
async def test_only_yes_is_a_yes(answer: str, code: int, folder: Path) -> None:
    async with terminal("clear", "--all", *on(folder)) as seen:
        await seen.until("? [y/N] ")
        seen.type(f"{answer}\n")
        assert (await seen.outcome())[0] == code
    assert len(await kept(folder)) == (0 if code == 0 else 3)


async def test_ctrl_c_at_the_question_removes_nothing(folder: Path) -> None:
    async with terminal("clear", "--all", *on(folder)) as seen:
        await seen.until("? [y/N] ")
        seen.process.send_signal(signal.SIGINT)
        assert await seen.outcome() == (130, "")
    assert await kept(folder) == {"one", "two", "three"}


async def test_clear_asks_nothing_where_there_is_nothing_to_remove(tmp_path: Path) -> None:
    async with terminal("clear", *on(tmp_path)) as seen:
        assert await seen.outcome() == (0, "0 entries removed\n")


# export


async def test_export_writes_each_entry_as_a_line_that_decodes(folder: Path) -> None:
    code, out, err = await hub_cache("export", *on(folder))
    assert code == 0
    assert exported(out) == MINE
    assert "2 entries" in err
    assert "1 left out" in err
    assert "--all" in err


async def test_export_takes_every_tenant_where_that_is_wanted(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "answers.jsonl"
    code, out, err = await hub_cache("export", str(target), "--all", *on(folder))
    assert (code, out) == (0, "")
    assert exported(target.read_text()) == sorted(MINE + THEIRS, key=lambda entry: entry.identifier)
    assert err == f"· 3 entries in {target}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(tmp_path) == ["answers.jsonl", "cache"]


async def test_export_counts_what_is_damaged(folder: Path) -> None:
    path = file_of(folder, "one")
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = await hub_cache("export", "-", "--all", *on(folder))
    assert (code, len(exported(out))) == (0, 2)
    assert "1 left out: damaged" in err


async def test_export_replaces_a_file_only_where_it_is_told_to(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "answers.jsonl"
    target.write_text("precious")
    code, _, err = await hub_cache("export", str(target), *on(folder))
    assert code == 1
    assert "--force" in err
    assert target.read_text() == "precious"
    assert (await hub_cache("export", str(target), "--force", *on(folder)))[0] == 0
    assert exported(target.read_text()) == MINE


@pytest.mark.parametrize(("name", "words"), [("none/answers.jsonl", "No such file"), ("/dev/full", "no ordinary file")])
async def test_a_file_that_can_not_be_written_is_told(name: str, words: str, folder: Path, tmp_path: Path) -> None:
    code, out, err = await hub_cache("export", str(tmp_path / name), "--force", *on(folder))
    assert (code, out) == (1, "")
    assert words in err
    assert name in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_reader_of_the_export_that_leaves_is_no_failure(unbuffered: str, tmp_path: Path) -> None:
    await keep(tmp_path, an_entry("large", "x" * 300_000))  # more than a pipe takes
    hub = shlex.join([sys.executable, "-m", "hub", "cache", "export", *on(tmp_path)])
    process = await asyncio.create_subprocess_shell(
        f"{{ {hub}; echo code $? >&2; }} | head -c 10",
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert (out, err) == (b'{"format":', b"code 0\n")


async def test_a_full_disk_under_standard_output_is_told(folder: Path) -> None:
    hub = shlex.join([sys.executable, "-m", "hub", "cache", "export", *on(folder)])
    process = await asyncio.create_subprocess_shell(
        f"{hub} >/dev/full", env=environment(), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(40):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert b"No space left" in err
    assert err.count(b"\n") == 1


async def test_progress_is_shown_at_a_terminal_and_wiped(folder: Path, tmp_path: Path) -> None:
    async with terminal("export", str(tmp_path / "answers.jsonl"), *on(folder)) as seen:
        await seen.until("\r· 0 entries")
        await seen.until("\r\x1b[K· 2 entries in ")
        assert (await seen.outcome())[0] == 0


async def test_ctrl_c_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    gate = Gate()
    nothing = json_reply({"result": {"points": [], "next_page_offset": None}, "status": "ok", "time": 0.0})
    target = tmp_path / "answers.jsonl"
    async with ScriptedEndpoint(handler=lambda _: nothing) as qdrant:
        qdrant.enqueue(nothing, raw_reply(gate))  # the count; then the entries, which don't come
        url = qdrant.base_url.removesuffix("/v1")
        async with terminal("export", str(target), "--backend", "qdrant", QDRANT_URL=url) as seen:
            await gate.reached()
            assert len(files(tmp_path, ".hub-*.new")) == 1
            seen.process.send_signal(signal.SIGINT)
            await seen.until("\x1b[K")
            assert (await seen.outcome())[0] == 130
    assert names(tmp_path) == []


# A file, whole or not at all


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with new_file(target, overwrite=False) as file:
        file.write(b"a")
        assert not target.exists()
    assert target.read_bytes() == b"a"


def test_what_fails_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "old"
    target.write_bytes(b"precious")

    def fail() -> None:
        with new_file(target, overwrite=True) as file:
            file.write(b"a")
            raise HubError("gone")

    with pytest.raises(HubError, match="gone"):
        fail()
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with pytest.raises(InvalidRequestError, match="there already"), new_file(target, overwrite=False):
        target.write_bytes(b"another's")
    assert target.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with new_file(link, overwrite=True) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


async def test_importing_the_grammar_loads_no_cache() -> None:
    script = "import sys, hub.cli.parser as p; p.build_parser(); print([m for m in sys.modules if '.cache' in m])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == b"[]\n"
