"""The codes that describe a heatmap in DICOM."""

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
OWN_SCHEME = "99HEATLENS"
MAP_QUALITY = Code("MAPQUALITY", OWN_SCHEME, "Quality of the map")
_WITHOUT_GRADIENTS = frozenset({"eigencam"})


def explanation_code(method: str) -> Code:
    """Return the code of a method's maps (CID 217, Visual Explanation)."""
    return GRADIENT_WEIGHTED if method in METHODS and method not in _WITHOUT_GRADIENTS else CLASS_ACTIVATION


def code_item(code: Code) -> Dataset:
    """Return a code as an item of a sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
