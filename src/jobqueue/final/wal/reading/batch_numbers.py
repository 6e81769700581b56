"""The numbers of batches that a walk has come across, and which are missing between them."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from heapq import merge
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["GAPS_MAX", "BatchNumbers"]

GAPS_MAX = 1000
"""So many gaps are told apart. A log with more of them is no log that lost something."""


class BatchNumbers:
    """Numbers that were seen, each with the CRC of its batch: 4 bytes a batch.

    A run of numbers takes 16 bytes more, and a number that comes late about 100. Each number costs
    about the same, in whatever order they come.

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
        # Runs of numbers without a gap: the first number of each, and where its CRCs begin.
        self._starts = array("Q")
        self._places = array("Q")
        self._crcs = array("I")
        self._late: dict[int, int] = {}  # CRCs of what stood behind a higher number
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
        if first > self.last:
            if not self._starts or first > self.last + 1:
                self._starts.append(first)
                self._places.append(len(self._crcs))
            self._crcs.extend(crcs)
        elif self.has_number(first):
            self._others.add((first, crcs[0]))
        else:
            self._late[first] = crcs[0]
        self.last = max(self.last, first + len(crcs) - 1)
        self.expect(self.last + 1)
        if not self._base_is_known:
            self._base = min(self._base or first, first)

    def has_number(self, number: int) -> bool:
        """Tell whether a batch of this number was seen."""
        return self._crc_of(number) is not None

    def has(self, number: int, crc: int) -> bool:
        """Tell whether this very batch was seen."""
        # guard: a repetition is an exact one
        #   without: return self.has_number(number)
        return self._crc_of(number) == crc or (number, crc) in self._others

    def _crc_of(self, number: int) -> int | None:
        run = bisect_right(self._starts, number) - 1
        if run >= 0:
            place = self._places[run] + number - self._starts[run]
            if place < self._end_of(run):
                return self._crcs[place]
        return self._late.get(number)

    def _end_of(self, run: int) -> int:
        """Where its CRCs end."""
        return len(self._crcs) if run + 1 == len(self._places) else self._places[run + 1]

    def _runs(self) -> Iterator[tuple[int, int]]:
        """The first number of each run, and the one that follows the last."""
        for run, (start, place) in enumerate(zip(self._starts, self._places, strict=True)):
            yield start, start + self._end_of(run) - place

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield what was not seen and should have been: first and last number of each range.

        If there are more than `GAPS_MAX`, the last range spans those that are left.
        """
        following = self._base
        if following is None or self.expected is None:
            return
        told = 1
        for start, end in merge(self._runs(), ((n, n + 1) for n in sorted(self._late))):
            if start > following:
                if told == GAPS_MAX:
                    break
                yield following, start - 1
                told += 1
            following = max(following, end)
        if following < self.expected:
            yield following, self.expected - 1
