"""Which store a URL names."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import ConfigurationError
from hub.streams.memory import MemoryStreamStore
from hub.streams.opening import default_path, open_stream_store
from hub.streams.sqlite import SqliteStreamStore

from ...contracts.conftest import kept


def files_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("url", ["memory", "memory://"])
def test_memory_is_named_by_a_word(url: str) -> None:
    assert isinstance(open_stream_store(url), MemoryStreamStore)


async def test_three_slashes_name_a_path_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_stream_store("sqlite:///here/streams.db")
    await kept(store, "str_1")
    await store.aclose()
    assert files_below(tmp_path) == ["here/streams.db"]


async def test_four_slashes_name_a_path_from_the_root(tmp_path: Path) -> None:
    store = open_stream_store(f"sqlite:///{tmp_path}/with space %20 ?&#.db")
    await kept(store, "str_1")
    await store.aclose()
    assert files_below(tmp_path) == ["with space %20 ?&#.db"]


async def test_without_a_path_the_file_is_in_the_user_s_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_stream_store("sqlite://")
    assert isinstance(store, SqliteStreamStore)
    await kept(store, "str_1")
    await store.aclose()
    (found,) = files_below(tmp_path)
    assert found.endswith("llm-stream-hub/streams.db")


@pytest.mark.parametrize(
    ("platform", "environ", "path"),
    [
        ("linux", {}, "~/.local/share"),
        ("linux", {"XDG_DATA_HOME": ""}, "~/.local/share"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "~/.local/share"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "~/Library/Application Support"),
        ("win32", {"LOCALAPPDATA": "/Users/me/Local"}, "/Users/me/Local"),
        ("win32", {}, "~/AppData/Local"),
    ],
)
def test_each_system_has_its_own_data_folder(platform: str, environ: dict[str, str], path: str) -> None:
    assert default_path(platform, environ) == Path(path).expanduser() / "llm-stream-hub" / "streams.db"


@pytest.mark.parametrize("url", ["sqlite:streams.db", "sqlite:/streams.db", "sqlite://streams.db", "sqlite:///"])
def test_a_path_with_the_wrong_slashes_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///streams\.db"):
        open_stream_store(url)


def test_sqlite_in_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="called memory"):
        open_stream_store("sqlite:///:memory:")


@pytest.mark.parametrize("url", ["", "streams.db", "mysql://me:secret@host", "memory:///x"])
def test_what_names_no_store_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no store of streams for") as caught:
        open_stream_store(url)
    assert "secret" not in str(caught.value)


async def test_retention_is_passed_on(tmp_path: Path) -> None:
    for url in ("memory", f"sqlite:///{tmp_path}/streams.db"):
        store = open_stream_store(url, retention_ttl=0.0)
        await kept(store, "str_1")
        assert list(await store.list()) == []
        await store.aclose()
