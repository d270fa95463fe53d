"""What one object is about: a class of an explanation of a source, and the values that all kinds of objects share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence
from pydicom.dataset import Dataset

from heatlens import __version__
from heatlens.dicom_out import KINDS, Kind
from heatlens.dicom_out.codes import ARTIFICIAL_INTELLIGENCE, SOURCE_IMAGE, code_item, explanation_code
from heatlens.dicom_out.origin import Origin
from heatlens.dicom_out.source import Source
from heatlens.evaluate.regions import hot_pixels
from heatlens.explain.absolute_scale import scaled_heat
from heatlens.render.color import levels
from heatlens.render.enlarge import HALF, LEVELS, exact_levels
from heatlens.results import Explained, Explanation
from heatlens.types import WHOLE, Floats

MANUFACTURER = "Heatlens"
NOT_DIAGNOSTIC = "Not for diagnostic use"
_NUMBER_STEP, _FIRST_NUMBER, _LARGEST_NUMBER = 100, 91, 10_000_000  # of series: 391 is of the third
_LONG, _SHORT = 64, 16  # letters of an LO and an SH
_NAMES: dict[Kind, str] = {
    "sc": "heatmap",
    "seg": "heatmap regions",
    "heat": "heat as segmentation",
    "pm": "heat as parametric map",
    "sr": "prediction",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A class of an explanation: that at `place`."""

    source: Source
    explanation: Explanation
    origin: Origin
    place: int

    @property
    def explained(self) -> Explained:
        """The class, its map and its overlay."""
        return self.explanation.explained[self.place]

    @property
    def is_ascii(self) -> bool:
        """Whether the model and all classes have letters that every character set has."""
        labels = [self.explanation.prediction.label, *(each.label for each in self.explanation.explained)]
        return all(text.isascii() for text in (self.origin.model, self.origin.version, *labels))

    def uid(self, *names: str) -> str:
        """Derive a UID of this class of this frame."""
        image, frame = self.source.image, str(self.source.frame or "")
        return self.origin.uid(image.StudyInstanceUID, image.SOPInstanceUID, frame, str(self.place), *names)

    def instance_of(self, kind: Kind, *names: str) -> dict[str, Any]:
        """Return what identifies an object and its series, and which software made it.

        The objects of one kind of a source's series, by the same model and options, are one series.
        """
        image, count = self.source.image, len(self.explanation.explained)
        before = (int(image.get("InstanceNumber") or 1) - 1) * self.source.frames + (self.source.frame or 1) - 1
        return {
            "series_instance_uid": self.origin.uid(image.StudyInstanceUID, image.SeriesInstanceUID, kind),
            "series_number": _series_number(image, kind),
            "series_description": clipped(f"{self.origin.model}: {_NAMES[kind]}"),
            "sop_instance_uid": self.uid(kind, *names),
            "instance_number": max(1, (before * count + self.place + 1) % 2**31),
            "manufacturer": MANUFACTURER,
        }

    @property
    def software(self) -> dict[str, Any]:
        """The equipment that objects other than Secondary Captures name in full."""
        return {
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": __version__,
            "device_serial_number": self.origin.sha256[:_LONG],
        }

    @property
    def algorithm(self) -> AlgorithmIdentificationSequence:
        """The model as the algorithm."""
        origin = self.origin
        return AlgorithmIdentificationSequence(
            name=clipped(origin.model),
            family=ARTIFICIAL_INTELLIGENCE,
            version=clipped(origin.version),
            source=MANUFACTURER,
            parameters=origin.parameters,
        )

    @property
    def tracking_id(self) -> str:
        """The name of the finding, the same in all objects of the class."""
        return clipped(f"{self.origin.model}: {self.explained.label}")

    @property
    def sentence(self) -> str:
        """What the picture shows, in a sentence."""
        origin, explained = self.origin, self.explained
        contrast = f" against {explained.contrast}" if explained.contrast else ""
        return (
            f"{origin.method} heatmap{self.of_frame} at layer {origin.layer} for class {explained.label}{contrast} "
            f"(probability {explained.probability:.4f}, map {explained.quality}) by model {origin.model} "
            f"{origin.version}, SHA-256 {origin.sha256}. {NOT_DIAGNOSTIC}."
        )

    @property
    def of_frame(self) -> str:
        """Name the frame, of a source with several."""
        return f" of frame {self.source.frame}" if self.source.frame else ""

    @property
    def full_heat(self) -> float:
        """The evidence that is drawn as full heat; 1 of a map without any."""
        explained = self.explained
        full = explained.signed_map.max() if explained.full_heat is None else explained.full_heat
        return float(full) if full > 0 else 1.0

    def heat_levels(self) -> npt.NDArray[np.uint8]:
        """Compute the heat as it is drawn: `[rows, columns]`, 0 to 255, and 0 where the model saw nothing."""
        explanation, explained = self.explanation, self.explained
        heat = scaled_heat(explained.signed_map, explained.full_heat)
        size = explanation.width, explanation.height
        return levels(heat, size, explanation.box, explanation.part or WHOLE)(0, size[1])

    def heat(self) -> Floats:
        """Compute the heat before it is rounded to levels: `[rows, columns]`, 0..1."""
        whole = np.zeros((self.explanation.height, self.explanation.width), np.float32)
        left, top, right, bottom = self.explanation.box
        whole[top:bottom, left:right] = np.clip((self._exact_levels() - HALF) / LEVELS, 0, 1)
        return whole

    def hot_pixels(self) -> npt.NDArray[np.bool_]:
        """Find the pixels of all regions, `[rows, columns]`."""
        whole = np.zeros((self.explanation.height, self.explanation.width), np.bool_)
        left, top, right, bottom = self.explanation.box
        whole[top:bottom, left:right] = hot_pixels(self._exact_levels(), self.origin.options.threshold)
        return whole

    def _exact_levels(self) -> Floats:
        explained, explanation = self.explained, self.explanation
        left, top, right, bottom = explanation.box
        heat = scaled_heat(explained.signed_map, explained.full_heat)
        return exact_levels(heat, (right - left, bottom - top), explanation.part or WHOLE)

    def source_image(self) -> Dataset:
        """Refer to the source as what the object was derived from."""
        item = Dataset()  # completed when the object is finished
        item.ReferencedSOPInstanceUID = self.source.image.SOPInstanceUID
        item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
        return item

    def derivation(self) -> dict[str, Any]:
        """Return the elements that say how an image was derived."""
        return {
            "DerivationDescription": self.sentence[:1024],
            "DerivationCodeSequence": [code_item(explanation_code(self.origin.method))],
            "SourceImageSequence": [self.source_image()],
        }


def clipped(text: str, longest: int = _LONG) -> str:
    """Shorten a text to what an element holds, without the letters that DICOM reserves."""
    return "".join(letter if letter.isprintable() and letter != "\\" else "_" for letter in text)[:longest].strip()


def _series_number(image: Dataset, kind: Kind) -> int:
    own = abs(int(image.get("SeriesNumber") or 0)) % _LARGEST_NUMBER
    return own * _NUMBER_STEP + _FIRST_NUMBER + KINDS.index(kind)
