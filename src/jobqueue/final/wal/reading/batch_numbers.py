"""The numbers of batches that a walk has come across, and which are missing between them."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BatchNumbers"]


class BatchNumbers:
    """Numbers that were seen, each with the CRC of its batch: 4 bytes a batch.

    Args:
        first: the number of the first batch that there should be; `None` if it is not known.

    Attributes:
        expected: the number that should follow; `None` as long as it is not known. It is above all
            that were seen and all that are known to have been written.
        last: the highest number seen, or known to stand before the first; 0 for none.
    """

    def __init__(self, first: int | None) -> None:
        self.expected = first
        self.last = 0 if first is None else first - 1
        self._base = first
        self._base_is_known = first is not None
        # Runs of numbers without a gap: the first number of each, and its CRCs.
        self._starts: list[int] = []
        self._runs: list[array[int]] = []
        self._others: set[tuple[int, int]] = set()  # batches under a number that was taken

    def expect(self, number: int) -> None:
        """All batches below `number` are known to have been written."""
        if self._base is None:
            self._base = number
        self.expected = number if self.expected is None else max(self.expected, number)

    def add(self, first: int, crcs: Sequence[int]) -> None:
        """Batches were seen, numbered one by one from `first` on.

        Either all their numbers are above `last`, or there is only one of them.
        """
        if self._starts and first == self._starts[-1] + len(self._runs[-1]):
            self._runs[-1].extend(crcs)
        elif first > self.last:
            self._starts.append(first)
            self._runs.append(array("I", crcs))
        else:
            self._add_late(first, crcs[0])
        self.last = max(self.last, first + len(crcs) - 1)
        self.expect(self.last + 1)
        if not self._base_is_known:
            self._base = min(self._base or first, first)

    def _add_late(self, number: int, crc: int) -> None:
        if self._crc_of(number) is not None:
            self._others.add((number, crc))
            return
        index = bisect_right(self._starts, number)
        self._starts.insert(index, number)
        self._runs.insert(index, array("I", [crc]))

    def has_number(self, number: int) -> bool:
        """Tell whether a batch of this number was seen."""
        return self._crc_of(number) is not None

    def has(self, number: int, crc: int) -> bool:
        """Tell whether this very batch was seen."""
        # guard: a repetition is an exact one
        #   without: return self.has_number(number)
        return self._crc_of(number) == crc or (number, crc) in self._others

    def _crc_of(self, number: int) -> int | None:
        index = bisect_right(self._starts, number) - 1
        if index < 0 or number >= self._starts[index] + len(self._runs[index]):
            return None
        return self._runs[index][number - self._starts[index]]

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield what was not seen and should have been: first and last number of each range."""
        following = self._base
        if following is None or self.expected is None:
            return
        for start, run in zip(self._starts, self._runs, strict=True):
            if start > following:
                yield following, start - 1
            following = max(following, start + len(run))
        if following < self.expected:
            yield following, self.expected - 1
