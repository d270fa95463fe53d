"""Write phantoms as DICOM: radiographs, CT slices and multi-frame images, each with a patient and a study."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
)

from tests.support.dicom import Array, dataset, sequence, written

ROOT = Path(__file__).parents[2]
PHANTOM = ROOT / "layers" / "heatlens_web" / "static" / "samples" / "phantom-01-opacity.png"
STUDY, SERIES, FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.2.1", "1.2.826.0.1.3680043.2.2", "1.2.826.0.1.3680043.2.9"
PRIVATE_TEXT = "SECRETNOTE"


def phantom(size: tuple[int, int] | None = None) -> Array:
    """Return the sample with an opacity as 12-bit values, of `size` (width, height)."""
    with Image.open(PHANTOM) as image:
        gray = image.convert("L") if size is None else image.convert("L").resize(size)
    return np.asarray(gray).astype("<u2") * 16


def study(pixels: Array, number: int = 1, **tags: Any) -> Dataset:  # noqa: ANN401 - any element
    """Build a radiograph of a patient, with private and free text beside what the standard requires."""
    made = dataset(pixels, bits=8 * pixels.itemsize if pixels.itemsize == 1 else 12)
    made.SOPClassUID, made.SOPInstanceUID = ComputedRadiographyImageStorage, f"{SERIES}.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = STUDY, SERIES
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "P-17", "19610203", "F"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20240102", "030405", "S1", "A-9"
    made.ContentDate, made.ContentTime, made.ReferringPhysicianName = "20240102", "030500", "Roe^Richard"
    made.Modality, made.SeriesNumber, made.InstanceNumber, made.Manufacturer = "CR", 3, number, "Maker"
    made.PatientOrientation, made.BodyPartExamined, made.Laterality = ["L", "F"], "CHEST", ""
    made.ImageType, made.ViewPosition, made.AcquisitionDate = ["ORIGINAL", "PRIMARY"], "PA", "20240102"
    made.PatientComments = made.ImageComments = made.InstitutionName = PRIVATE_TEXT
    made.private_block(0x0029, PRIVATE_TEXT, create=True).add_new(1, "LO", PRIVATE_TEXT)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def radiograph(number: int = 1, **tags: Any) -> bytes:  # noqa: ANN401 - any element
    """Write a computed radiograph, which has no frame of reference."""
    return written(study(phantom(), number, **{"ImagerPixelSpacing": [0.2, 0.2], **tags}))


def digital_radiograph(**tags: Any) -> bytes:  # noqa: ANN401 - any element
    """Write a digital radiograph, MONOCHROME1."""
    made = study(4080 - phantom(), SOPClassUID=DigitalXRayImageStorageForPresentation, Modality="DX", **tags)
    made.PhotometricInterpretation, made.ImagerPixelSpacing = "MONOCHROME1", [0.2, 0.2]
    made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "LOG", 1
    return written(made)


def ct_slice(pixels: Array | None = None, **tags: Any) -> bytes:  # noqa: ANN401 - any element
    """Write a CT slice, which has a frame of reference."""
    made = study(phantom() if pixels is None else pixels, SOPClassUID=CTImageStorage, Modality="CT")
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
    made.ImagePositionPatient, made.ImageOrientationPatient = [-100, -100, 42], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [0.8, 0.8], 2.5
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return written(made)


def several_frames(**tags: Any) -> bytes:  # noqa: ANN401 - any element
    """Write a multi-frame Secondary Capture whose first frame is the phantom."""
    first = (phantom() // 16).astype("u1")
    made = study(first, SOPClassUID=MultiFrameGrayscaleByteSecondaryCaptureImageStorage, Modality="OT", **tags)
    made.NumberOfFrames = 2
    made.PixelData = first.tobytes() + first[::-1].tobytes()
    return written(made)


def enhanced_ct(**tags: Any) -> bytes:  # noqa: ANN401 - any element
    """Write an Enhanced CT of three frames, each with a plane and a rescale of its own; the second is the phantom."""
    frames = [phantom()[::-1], phantom(), phantom()[:, ::-1]]
    made = study(frames[0], SOPClassUID=EnhancedCTImageStorage, Modality="CT")
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = FRAME_OF_REFERENCE, ""
    made.NumberOfFrames = len(frames)
    made.PixelData = b"".join(frame.tobytes() for frame in frames)
    made.SharedFunctionalGroupsSequence = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[0.8, 0.8], SliceThickness=2.5),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    groups = [
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[-100, -100, 42 + 3 * number]),
            PixelValueTransformationSequence=sequence(RescaleSlope=1 + number, RescaleIntercept=-1024),
        )[0]
        for number in range(len(frames))
    ]
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return written(made)
