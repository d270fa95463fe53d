"""Choose the rule of an instance: the first that matches. Results, ours and those of others, have none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heatlens.dicom_out import Kind
from heatlens.options import OptionArguments
from heatlens_cli.dicom.facts import Facts

OWN_NAME = "HEATLENS"  # manufacturer and model name of every object that is written, in capitals
_STORAGE = "1.2.840.10008.5.1.4.1.1"
# Classes of objects that are made from images: presentation states, Parametric Maps, registrations and Segmentations,
# value mappings, reports, documents.
_RESULTS = tuple(f"{_STORAGE}.{number}" for number in (11, 30, 66, 67, 88, 104))
_DERIVED, _SECONDARY = "DERIVED", "SECONDARY"  # the first and the second value of ImageType


@dataclass(frozen=True, slots=True)
class Rule:
    """Which instances are explained, by which model, with which options, and which objects are written.

    An instance must have one of the values of each condition; an empty condition holds for all. Only with `derived` are
    images explained that say of themselves that they are derived or secondary.
    """

    title: str
    model: Path
    objects: tuple[Kind, ...]
    options: OptionArguments
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    view_position: tuple[str, ...] = ()
    sop_class: tuple[str, ...] = ()
    derived: bool = False

    def matches(self, facts: Facts) -> bool:
        """Tell whether all conditions hold."""
        conditions = (
            (self.modality, facts.modality),
            (self.body_part, facts.body_part),
            (self.view_position, facts.view_position),
            (self.sop_class, facts.sop_class),
        )
        return all(not values or value in values for values, value in conditions) and (
            self.derived or not is_derived(facts)
        )


def choose_rule(rules: Sequence[Rule], facts: Facts) -> Rule | None:
    """Return the first rule that matches; `None` for an instance that is left alone."""
    if is_result(facts):
        return None
    return next((rule for rule in rules if rule.matches(facts)), None)


def is_result(facts: Facts) -> bool:
    """Tell whether an instance is of a class of results, or was written by Heatlens: no rule explains these."""
    is_own = OWN_NAME in (facts.manufacturer, facts.model_name)
    return is_own or any(facts.sop_class == uid or facts.sop_class.startswith(f"{uid}.") for uid in _RESULTS)


def is_derived(facts: Facts) -> bool:
    """Tell whether an image says that it was derived from others, or did not come from a scanner."""
    first, second = (*facts.image_type, "", "")[:2]
    return first == _DERIVED or second == _SECONDARY
