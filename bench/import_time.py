"""What an import costs, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bench.report import Row, Table

__all__ = ("run",)

STATEMENTS = {
    "import hub": "hub",
    "from hub import OpenAIClient": "hub",
    "import openai": "openai",
    "from openai import AsyncOpenAI, DefaultAioHttpClient": "openai",
    "import langchain_openai": "langchain_openai",
    "import pydantic_ai": "pydantic_ai",
    "import litellm": "litellm",
}
"""The statements, and the package each needs; the first one's is the figure the others are compared with."""

SCRIPT = """
import sys, time
began_at = time.process_time()
{statement}
print((time.process_time() - began_at) * 1000, len(sys.modules))
"""


def run(quick: bool) -> list[Table]:
    """CPU of each statement in a fresh interpreter, and how many modules are loaded after it."""
    rows = {statement: Row(f"`{statement}`") for statement, package in STATEMENTS.items() if find_spec(package)}
    for statement in () if quick else rows:
        _measure(statement)  # so that all byte code is compiled and in the page cache
    for _ in range(1 if quick else 9):
        for statement, row in rows.items():
            cpu, modules = _measure(statement)
            row.add(cpu=cpu)
            row.facts["modules"] = str(modules)
    ours, theirs = "from hub import OpenAIClient", "import openai"
    share = rows[ours].middle("cpu") / rows[theirs].middle("cpu")
    note = f"The client with everything it needs takes {share:.2f} times `import openai`, the SDK included."
    return [Table("Importing", {"cpu": "CPU, ms"}, list(rows.values()), [note])]


def _measure(statement: str) -> tuple[float, int]:
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(statement=statement)],
        env={**os.environ, "HUB_NO_DOTENV": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout.split()
    return float(output[-2]), int(output[-1])
