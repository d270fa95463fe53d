"""Explain instances as a rule says: with its model, its options, and the objects that it names."""

from dataclasses import replace
from pathlib import Path

from heatlens.dicom_out import check_kinds
from heatlens.errors import HeatlensError
from heatlens.model import Model
from heatlens.options import read_options
from heatlens.pipeline import explain
from heatlens.plan import check_plan, make_plan
from heatlens.results import DicomObject
from heatlens.settings import Limits
from heatlens.types import Upload
from heatlens_cli.dicom.rules import Rule
from heatlens_cli.load import load


class RuleExplainer:
    """What a rule makes of an instance."""

    def __init__(self, rule: Rule, model: Model, limits: Limits) -> None:
        """Check the rule with its model.

        Raises:
            HeatlensError: The model has no such class, method or layer, or the objects cannot be written.
        """
        self._options = replace(read_options(rule.options, frozenset()), dicom=rule.objects)
        check_kinds(self._options)
        check_plan(make_plan(model, self._options), 1, limits)
        self._model, self._limits = model, limits

    def __call__(self, data: bytes) -> tuple[DicomObject, ...]:
        """Explain a DICOM file and write the objects.

        Raises:
            HeatlensError: It cannot be explained, or an object cannot be written.
        """
        [outcome] = explain(self._model, [Upload("", data)], self._options, limits=self._limits, batch_images=1)
        if isinstance(outcome, HeatlensError):
            raise outcome
        return outcome.dicom


class Models:
    """The models of all rules, each folder loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[Path, tuple[Model, Limits]] = {}

    def explainer_of(self, rule: Rule) -> RuleExplainer:
        """Load the model of a rule, and check the rule with it.

        Raises:
            HeatlensError: The model cannot be loaded, or does not have what the rule names.
        """
        folder = rule.model.resolve()
        if folder not in self._loaded:
            self._loaded[folder] = load(folder)
        return RuleExplainer(rule, *self._loaded[folder])
