"""Write where the heat is as a Segmentation (PS3.3 A.51): the regions, yes or no for each pixel, or the heat itself."""

from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset

from heatlens.dicom_out import Kind
from heatlens.dicom_out.codes import SPATIAL_CONCEPT, explanation_code
from heatlens.dicom_out.subject import Subject, clipped
from heatlens.render.enlarge import LEVELS


def write_regions(subject: Subject) -> Dataset:
    """Write the pixels whose heat reaches the threshold, those of all regions, as a binary segment."""
    threshold = subject.origin.options.threshold
    return _write(subject, "seg", subject.hot_pixels(), f"Heat of at least {threshold:g} of full heat")


def write_heat(subject: Subject) -> Dataset:
    """Write the heat as it is drawn, 0 to 255, as a fractional segment.

    The standard has two meanings of a fraction: how likely a pixel belongs to the segment, and how much of it does.
    Heat is neither; the first is nearer, and the description says that it is no probability.
    """
    heat = subject.heat_levels() / np.float64(LEVELS)
    return _write(subject, "heat", heat, "Relative evidence as drawn, no probability")


def _write(subject: Subject, kind: Kind, pixels: npt.NDArray[Any], meaning: str) -> Dataset:
    explained, is_binary = subject.explained, pixels.dtype == np.bool_
    segment = SegmentDescription(
        segment_number=1,
        segment_label=clipped(explained.label) or "heat",
        segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=explanation_code(subject.origin.method),
        algorithm_type="AUTOMATIC",
        algorithm_identification=subject.algorithm,
        tracking_uid=subject.uid("tracking"),
        tracking_id=subject.tracking_id,
    )
    segment.SegmentDescription = f"{meaning}. {subject.sentence}"[:1024]
    return Segmentation(
        source_images=[subject.source.segmented],
        pixel_array=pixels,
        segmentation_type="BINARY" if is_binary else "FRACTIONAL",
        segment_descriptions=[segment],
        fractional_type="PROBABILITY",
        max_fractional_value=LEVELS,
        content_description=clipped(meaning),
        content_label="HEAT",
        omit_empty_frames=False,
        **subject.instance_of(kind),
        **subject.software,
    )
