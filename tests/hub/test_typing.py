"""What type checkers of other projects see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
from hub import LLMEvent, OpenAIClient, TextDelta


async def ask(client: OpenAIClient) -> str:
    parts: list[str] = []
    async for event in client.stream(messages=[]):
        reveal_type(event)
        match event:
            case TextDelta():
                parts.append(event.text)
        if event.type == "done":
            reveal_type(event.status)
    return "".join(parts)
"""


def test_the_package_is_typed_for_those_who_install_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for package in ("hub", "sinks"):
        assert (Path(__file__).parents[2] / package / "py.typed").exists()
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    assert "TextDelta" in checked.stdout
    assert "completed" in checked.stdout
