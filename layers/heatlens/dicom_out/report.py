"""Write the prediction as a Structured Report (TID 1500), which refers to the other objects of the class."""

import copy
from collections.abc import Sequence
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    ImageLibrary,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from heatlens.dicom_out.codes import (
    ARTIFICIAL_INTELLIGENCE,
    DEVICE,
    IMAGING,
    MAP_QUALITY,
    NO_UNITS,
    OWN_SCHEME,
    PROBABILITY,
    VISUAL_EXPLANATION,
)
from heatlens.dicom_out.subject import MANUFACTURER, Subject, clipped

_Group = MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
_DIGEST_LETTERS = 8
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def write_report(subject: Subject, others: Sequence[Dataset]) -> Dataset:
    """Write the predicted class and the explained one, their probabilities, the algorithm, and the references.

    Args:
        subject: The class.
        others: The other objects of the class, finished. The first Segmentation is the place of the finding.
    """
    explanation, explained = subject.explanation, subject.explained
    segment = next((other for other in others if other.SOPClassUID == _SEGMENTATION), None)
    finding = _finding(subject, segment)
    finding[0].ContentSequence.extend(_picture(other) for other in others if other is not segment)
    groups: list[_Group] = [finding]
    if explained.label != explanation.prediction.label:
        groups.insert(0, _prediction(subject))
    source = copy.deepcopy(subject.source.image)
    source.SOPClassUID = subject.source.sop_class
    report = MeasurementReport(
        observation_context=_context(subject),
        procedure_reported=IMAGING,
        imaging_measurements=groups,
        referenced_images=_library(source),
    )
    return Comprehensive3DSR(
        evidence=[subject.source.image, *others],
        content=report[0],
        is_complete=True,
        **subject.instance_of("sr", *(other.SOPInstanceUID for other in others)),
        **subject.software,
    )


def _library(source: Dataset) -> list[Dataset] | None:
    """Return the source for the library of images; it has none of a source that `highdicom` cannot describe."""
    try:
        ImageLibrary([source])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return [source]


def _context(subject: Subject) -> ObservationContext:
    origin = subject.origin
    device = DeviceObserverIdentifyingAttributes(
        uid=origin.uid("device"),
        name=clipped(origin.model),
        manufacturer_name=MANUFACTURER,
        model_name=clipped(f"{origin.model} {origin.version}"),
        serial_number=origin.sha256,
    )
    return ObservationContext(observer_device_context=ObserverContext(CodedConcept.from_code(DEVICE), device))


def _finding(subject: Subject, segment: Dataset | None) -> _Group:
    """Write the explained class: its probability and the quality of its map, at its segment if there is one."""
    explained = subject.explained
    indices = [explained.index] if explained.members is None else [member.index for member in explained.members]
    name = "+".join(map(str, indices))
    facts: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(subject.uid("tracking"), subject.tracking_id),
        "algorithm_id": _algorithm(subject),
        "finding_type": _class_code(subject, name, explained.label),
        "measurements": [_probability(explained.probability)],
        "qualitative_evaluations": [
            QualitativeEvaluation(MAP_QUALITY, Code(explained.quality.upper(), OWN_SCHEME, f"Map {explained.quality}"))
        ],
    }
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(**facts, source_images=[_source_image(subject)])
    place = ReferencedSegment(
        sop_class_uid=segment.SOPClassUID,
        sop_instance_uid=segment.SOPInstanceUID,
        segment_number=1,
        source_images=[SourceImageForSegmentation(*_reference(subject))],
    )
    # Not a planar region, whose reference has a frame and a segment, of which the standard allows one.
    return VolumetricROIMeasurementsAndQualitativeEvaluations(**facts, referenced_segment=place)


def _picture(other: Dataset) -> ImageContentItem:
    """Refer to an image of the heat as what explains the finding (DCM 130401)."""
    return ImageContentItem(
        name=VISUAL_EXPLANATION,
        referenced_sop_class_uid=other.SOPClassUID,
        referenced_sop_instance_uid=other.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _prediction(subject: Subject) -> MeasurementsAndQualitativeEvaluations:
    prediction = subject.explanation.prediction
    name = clipped(f"{subject.origin.model}: {prediction.label}")
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(subject.uid("prediction"), name),
        algorithm_id=_algorithm(subject),
        finding_type=_class_code(subject, str(prediction.index), prediction.label),
        measurements=[_probability(prediction.probability)],
        source_images=[_source_image(subject)],
    )


def _algorithm(subject: Subject) -> AlgorithmIdentification:
    origin = subject.origin
    return AlgorithmIdentification(
        name=clipped(origin.model),
        version=clipped(origin.version),
        parameters=[f"{name}={value}" for name, value in origin.parameters.items()],
        family=ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _class_code(subject: Subject, name: str, label: str) -> Code:
    """Return the code of a class of a model: a digest of the model and the index of the class in it."""
    value = f"{subject.origin.sha256[:_DIGEST_LETTERS]}-{name}"
    return Code(clipped(value, 16), OWN_SCHEME, clipped(label) or "class")


def _probability(value: float) -> Measurement:
    return Measurement(name=PROBABILITY, value=round(value, 6), unit=NO_UNITS)


def _reference(subject: Subject) -> tuple[str, str, list[int] | None]:
    source = subject.source
    return source.sop_class, source.image.SOPInstanceUID, None if source.frame is None else [source.frame]


def _source_image(subject: Subject) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(*_reference(subject))
