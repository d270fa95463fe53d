"""Summarize a campaign as text."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.findings import INVARIANTS, Broken

EXAMPLES = 3
REPORTED_ONLY: set[int] = set()


@dataclass(slots=True)
class Summary:
    """Counts of everything that happened, and what broke."""

    title: str
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[Broken] = field(default_factory=list)
    seconds: float = 0.0
    busy_s: float = 0.0  # of all processors

    def add(self, part: "Summary") -> None:
        """Add the counts and findings of a part."""
        self.counts.update(part.counts)
        self.broken += part.broken
        self.busy_s += part.busy_s

    @property
    def holds(self) -> bool:
        return not self.invariants - REPORTED_ONLY

    @property
    def invariants(self) -> set[int]:
        """List the broken invariants."""
        return {each.invariant for each in self.broken}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.title
        yield from (f"  {name:<34} {count:>8,}" for name, count in sorted(self.counts.items()))
        for number, words in INVARIANTS.items():
            cases = [each for each in self.broken if each.invariant == number]
            yield f"  invariant {number}: {f'BROKEN {len(cases)} times' if cases else 'holds'} ({words})"
            yield from (f"    {each.where}: {each.what}" for each in cases[:EXAMPLES])
        end = "all invariants hold" if self.holds else "FAILED"
        yield f"  {end} after {self.seconds:.0f} s, {self.busy_s:.0f} s of work"
