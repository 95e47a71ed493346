"""A fuzzer of everything that reads what an endpoint sent: cases from a seed, and what broke, once each."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .fuzzing_checks import Case, check
from .fuzzing_damage import damage
from .fuzzing_seeds import Kind, seeds

__all__ = ("Finding", "broken_by", "make_case", "smaller")

KINDS: Sequence[Kind] = ("chat", "responses", "embeddings", "sse")
WEIGHTS = (45, 35, 12, 8)


@dataclass(frozen=True, slots=True)
class Finding:
    """A case in which something doesn't hold.

    Attributes:
        case: The case.
        exception: What was raised, in a line.
        place: Where: the innermost line of ours, and of the checks.
        trace: The whole traceback.
    """

    case: Case
    exception: str
    place: str
    trace: str

    @property
    def key(self) -> str:
        """Alike for findings that have one cause, as far as one can tell."""
        kind, _, message = self.exception.partition(":")
        words = "".join(sign for sign in message.partition(": ")[0] if not sign.isdigit())
        return f"{self.case.kind} {kind} {words[:90]} {self.place}"

    def save(self, folder: Path) -> Path:
        """Write the body and what happened to it; gives the body's file."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.case.kind}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"
        (folder / f"{name}.txt").write_text(f"seed {self.case.seed}\n{self.trace}", "utf-8", "replace")
        path = folder / f"{name}.body"
        path.write_bytes(self.case.body)
        return path


def make_case(seed: str) -> Case:
    """The case of this seed: always the same one, as long as seeds and ways of damage stay what they are."""
    rand = Random(seed)
    (kind,) = rand.choices(KINDS, WEIGHTS)
    bodies = seeds(kind)
    others = bodies if rand.random() < 0.9 else seeds(rand.choice(KINDS))
    return Case(kind, damage(rand.choice(bodies), others, rand), seed)


async def broken_by(case: Case) -> Finding | None:
    """What doesn't hold in this case; None where everything does."""
    try:
        await check(case)
    except Exception as exc:
        frames = traceback.extract_tb(exc.__traceback__)
        ours = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "/hub/" in frame.filename]
        message = f"{type(exc).__name__}: {exc}".encode("utf-8", "replace").decode()
        return Finding(case, message[:2_000], ours[-1] if ours else "", "".join(traceback.format_exception(exc)))
    return None


async def smaller(finding: Finding, *, tries: int = 400) -> Finding:
    """A finding of the same key with less of the body, after so many tries at the most."""
    size = len(finding.case.body) // 2
    while size and tries > 0:
        start = 0
        while start < len(finding.case.body) and tries > 0:
            body = finding.case.body
            case = Case(finding.case.kind, body[:start] + body[start + size :], finding.case.seed)
            found = await broken_by(case)
            tries -= 1
            if found is not None and found.key == finding.key:
                finding = found
            else:
                start += size
        size //= 2
    return finding
