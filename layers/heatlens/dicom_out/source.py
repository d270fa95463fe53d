"""Read of a DICOM source what its derived objects share with it: patient, study, series and geometry, nothing else."""

from copy import deepcopy
from dataclasses import dataclass

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from heatlens.errors import NoDicomObject
from heatlens.input.dicom.frame_count import check_frame
from heatlens.input.dicom.parse import FUNCTIONAL_GROUPS, SIZE, read
from heatlens.types import Frame

UTF_8 = "ISO_IR 192"
# Elements that the standard requires of every object (type 1 and 2), and those that tell two patients apart.
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "TimezoneOffsetFromUTC")
_TYPE_2 = frozenset({*PATIENT, *STUDY} - {"IssuerOfPatientID", "TimezoneOffsetFromUTC"})  # present, if only empty
_SERIES = ("Modality", "SeriesNumber", "InstanceNumber", "Laterality", "BodyPartExamined", "PositionReferenceIndicator")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
_GEOMETRY = (
    *("FrameOfReferenceUID", *_PLACE, "PixelSpacing", "SliceThickness", "PixelSpacingCalibrationType"),
    *("ImagerPixelSpacing", "PixelAspectRatio", "PatientOrientation", "ImageLaterality"),
)
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_DATES = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
_TIMES = ("ContentTime", "AcquisitionTime", "SeriesTime", "StudyTime")
KEYWORDS = (
    *("SpecificCharacterSet", *_UIDS, *PATIENT, *STUDY, *_SERIES, *_GEOMETRY, *LOSSY, *_DATES, *_TIMES),
    *("NumberOfFrames", *SIZE, *FUNCTIONAL_GROUPS),
)
_MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}
_EPOCH, _MIDNIGHT = "19700101", "000000"
_SEXES = ("M", "F", "O")


@dataclass(frozen=True, slots=True)
class Source:
    """One frame of a source image, by the elements that derived objects share with it.

    `image` has valid values alone, as `highdicom` wants them, in UTF-8. It is a radiograph there, as any source
    can be; `sop_class` is its own class. It has a position and an orientation only together. `kept` are the elements of
    patient and study as they are, also where they break a rule: an archive compares them. `frame` is the explained
    frame of several, from 1, `None` of one; `frames` is how many there are; `characters` is the source's character
    set; `date` and `time` are those of its content.
    """

    image: Dataset
    sop_class: UID
    kept: tuple[DataElement, ...]
    characters: object
    frame: Frame | None
    frames: int
    date: str
    time: str

    @property
    def has_plane(self) -> bool:
        """Whether its place in the patient is known."""
        return _PLACE[0] in self.image

    @property
    def segmented(self) -> Dataset:
        """The image as a Segmentation refers to it: without a place where its thickness is unknown.

        A Segmentation with a place needs the thickness (PS3.3 C.7.6.16.2.1).
        """
        if self.image.get("SliceThickness") is not None:
            return self.image
        placeless = deepcopy(self.image)  # Dataset(image) would share its elements
        for keyword in ("FrameOfReferenceUID", *_PLACE):
            placeless.pop(keyword, None)
        return placeless


def read_source(data: bytes, *, max_pixels: int, frame: Frame) -> Source:
    """Read what the objects of a frame share with its file; further elements are skipped without parsing.

    Raises:
        UnreadableImage: The file is damaged.
        NoDicomObject: It has no UID of its study, its series or itself.
        NoSuchFrame: It has fewer frames.
    """
    given = read(data, KEYWORDS, [], max_pixels=max_pixels, frame=frame)
    frames = check_frame(given, frame)
    if frame > 1:
        given.pop("ImagePositionPatient", None)  # that of the first
    _hoist(given)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = UTF_8
    for keyword in _UIDS:
        _set_uid(image, keyword, given.get(keyword))
    kept = tuple(_kept(given, keyword) for keyword in (*PATIENT, *STUDY) if keyword in given or keyword in _TYPE_2)
    for keyword in (*PATIENT, *STUDY, *_SERIES, *_GEOMETRY, *LOSSY, *SIZE):
        _copy(given, image, keyword)
    if image.get("PatientSex") not in _SEXES:
        image.PatientSex = ""
    date, time = _content_moment(given)
    sop_class, image.SOPClassUID = image.SOPClassUID, ComputedRadiographyImageStorage
    if any(image.get(keyword) is None for keyword in ("FrameOfReferenceUID", "PixelSpacing", *_PLACE)):
        for keyword in _PLACE:
            image.pop(keyword, None)
    elif "SliceThickness" not in image:
        image.SliceThickness = None
    characters, explained = given.get("SpecificCharacterSet"), frame if frames > 1 else None
    return Source(image, sop_class, kept, characters, explained, frames, date, time)


def _hoist(given: Dataset) -> None:
    """Copy the plane of a frame from its functional groups to where single-frame images have it.

    Its own group wins over that of all frames, and both over what stands beside the pixels.
    """
    for groups in reversed(FUNCTIONAL_GROUPS):
        for group in given.get(groups) or ():
            for macro, keywords in _MACROS.items():
                for item in group.get(macro) or ():
                    for keyword in keywords:
                        if keyword in item:
                            given[keyword] = item[keyword]


def _set_uid(image: Dataset, keyword: str, value: object) -> None:
    uid = UID(str(value or ""))
    if not uid.is_valid:
        raise NoDicomObject(f"the DICOM source has no valid {keyword}: an object of its study would lack its place")
    setattr(image, keyword, uid)


def _kept(given: Dataset, keyword: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return DataElement(tag, dictionary_VR(tag), given.get(keyword, ""), validation_mode=config.IGNORE)


def _copy(given: Dataset, image: Dataset, keyword: str) -> None:
    """Copy a value that is valid; of another, an element that must be present is empty."""
    value = given.get(keyword)
    is_valid = value is not None and value != "" and _set_valid(image, keyword, value)
    if not is_valid and keyword in _TYPE_2:
        setattr(image, keyword, "")


def _set_valid(image: Dataset, keyword: str, value: object) -> bool:
    try:
        vr = dictionary_VR(keyword)
        if vr == "DA":
            DA(str(value))
        elif vr == "TM":
            TM(str(value))
        setattr(image, keyword, str(value) if vr in ("PN", "LO", "SH", "DA", "TM") else value)
    except (ValueError, TypeError, OverflowError):
        image.pop(keyword, None)
        return False
    return True


def _content_moment(given: Dataset) -> tuple[str, str]:
    """Return date and time of the source's content: an object that is written again later has the same ones."""
    for date, time in zip(_DATES, _TIMES, strict=True):
        if day := _valid(given.get(date), DA):
            return day, _valid(given.get(time), TM) or _MIDNIGHT
    return _EPOCH, _MIDNIGHT


def _valid(value: object, kind: type[DA] | type[TM]) -> str:
    try:
        return str(value) if value and kind(str(value)) else ""
    except ValueError:
        return ""
