"""The invariants that a reader checks, and its findings."""

from collections import Counter
from dataclasses import dataclass, field

INVARIANTS = {
    1: "a terminal item never changes",
    2: "a committed item names objects of the recorded sha256, made of the bytes it names",
    3: "counts are recounts",
    4: "after the deadline no item and no batch is open",
    5: "the manifest lists exactly the terminal items",
    6: "file names are in the table and the manifest only",
    7: "and in neither after a purge",
    8: "no function fails in an unexpected way",
    9: "what came whole is explained, as was asked",
    10: "what is not explained has a cause that it names",
    11: "an event that was delivered has its row",
    12: "messages die of planned troubles only",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """One invariant that an item or batch breaks."""

    invariant: int
    where: str
    what: str


@dataclass(slots=True)
class Reading:
    """The findings, and what was examined."""

    broken: list[Broken] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def expect(self, *, holds: bool, invariant: int, where: str, what: str) -> None:
        """Record a finding if a condition does not hold."""
        if not holds:
            self.broken.append(Broken(invariant, where, what))
