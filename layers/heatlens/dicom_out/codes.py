"""The codes that describe a heatmap in DICOM, and which body parts are one of two."""

from highdicom._standard_utils import get_anatomic_region_map
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from heatlens.explain.methods import METHODS

CLASS_ACTIVATION = Code("130402", "DCM", "Class activation")
GRADIENT_WEIGHTED = Code("130403", "DCM", "Gradient-weighted class activation")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
NO_UNITS = Code("1", "UCUM", "no units")
REGION_OF_BODY = Code("38266002", "SCT", "Entire body")
DEVICE = Code("121007", "DCM", "Device")
IMAGING = Code("363679005", "SCT", "Imaging")
PROBABILITY = Code("122157", "DCM", "Probability")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
OWN_SCHEME = "99HEATLENS"
MAP_QUALITY = Code("MAPQUALITY", OWN_SCHEME, "Quality of the map")
_WITHOUT_GRADIENTS = frozenset({"eigencam"})


def explanation_code(method: str) -> Code:
    """Return the code of a method's maps (CID 217, Visual Explanation)."""
    return GRADIENT_WEIGHTED if method in METHODS and method not in _WITHOUT_GRADIENTS else CLASS_ACTIVATION


def may_be_one_of_two(body_part: str) -> bool:
    """Whether a body part is one of two, or none that the standard knows to be single (PS3.16 Annex L)."""
    _, is_paired = get_anatomic_region_map().get(body_part, (None, True))
    return bool(is_paired)


def code_item(code: Code) -> Dataset:
    """Return a code as an item of a sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
