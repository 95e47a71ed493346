"""What an embedding call gives: vectors in the order of the inputs, and the tokens they took."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self, overload

from hub.errors import MissingExtraError
from hub.result import TokenUsage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("Embeddings",)

FLOAT_BYTES = 4


@dataclass(frozen=True, repr=False)  # without slots: `cached_property` keeps its value in the instance's dict
class Embeddings:
    """Vectors of one model, one for each input and in the inputs' order.

    They are kept as the float32 values that endpoints send; lists of Python floats, eight times the size, are made
    when asked for. `len`, iteration, indexing and slicing go over the vectors as lists.

    Attributes:
        model: The name that the endpoint reported, else the one that was asked for.
        usage: Tokens of all the requests that were needed; `estimated` where the endpoint reported none.
        dimensions: The length of each vector.
        buffers: Each vector's float32 values, in this machine's byte order.
    """

    model: str
    usage: TokenUsage
    dimensions: int
    buffers: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse buffers that aren't such vectors.

        Raises:
            ValueError: One is of another length than `dimensions` says.
        """
        size = self.dimensions * FLOAT_BYTES
        if self.dimensions < 1 or any(len(buffer) != size for buffer in self.buffers):
            raise ValueError(f"each vector must have {self.dimensions} dimensions, and at least one")

    @classmethod
    def from_vectors(cls, vectors: Iterable[Iterable[float]], *, model: str, usage: TokenUsage | None = None) -> Self:
        """The result that holds these vectors, rounded to float32.

        Raises:
            ValueError: There is none, or they differ in length.
        """
        buffers = tuple(array("f", vector).tobytes() for vector in vectors)
        if not buffers:
            raise ValueError("there must be at least one vector")
        dimensions = len(buffers[0]) // FLOAT_BYTES
        return cls(model=model, usage=usage or TokenUsage(), dimensions=dimensions, buffers=buffers)

    @cached_property
    def vectors(self) -> list[list[float]]:
        """The vectors as lists; made at the first use, and the same lists from then on."""
        return list(self)

    @property
    def vector(self) -> list[float]:
        """The only vector.

        Raises:
            ValueError: There are several.
        """
        if len(self.buffers) != 1:
            raise ValueError(f"`vector` is for one input; there are {len(self.buffers)} vectors here, in `vectors`.")
        return self[0]

    def as_numpy(self) -> NDArray[np.float32]:
        """The vectors as a new array of shape (number of vectors, dimensions).

        Raises:
            MissingExtraError: NumPy isn't installed.
        """
        try:
            import numpy as np  # here and not above: it takes 100 ms to load, and few need it
        except ImportError as exc:
            raise MissingExtraError("Embeddings.as_numpy()", "numpy") from exc
        # From a bytearray, so that the array can be written to without another copy.
        values = np.frombuffer(bytearray().join(self.buffers), dtype=np.float32)
        return values.reshape(len(self.buffers), self.dimensions)

    def __len__(self) -> int:
        return len(self.buffers)

    def __iter__(self) -> Iterator[list[float]]:
        return map(_floats, self.buffers)

    @overload
    def __getitem__(self, index: int) -> list[float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[float]]: ...
    def __getitem__(self, index: int | slice) -> list[float] | list[list[float]]:
        if isinstance(index, slice):
            return [_floats(buffer) for buffer in self.buffers[index]]
        return _floats(self.buffers[index])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.buffers)} of {self.dimensions} dimensions, "
            f"model={self.model!r}, usage={self.usage!r})"
        )


def _floats(buffer: bytes) -> list[float]:
    return array("f", buffer).tolist()
