"""Count the frames of a DICOM file, and check that it has the one that is asked for."""

from pydicom.dataset import Dataset

from heatlens.errors import NoSuchFrame, UnreadableImage
from heatlens.input.dicom.parse import PER_FRAME_GROUPS
from heatlens.types import Frame


def check_frame(dataset: Dataset, frame: Frame) -> int:
    """Count the frames.

    Args:
        dataset: The file's elements; of its groups for each frame, only that of the frame was read.
        frame: A frame's number, from 1.

    Raises:
        NoSuchFrame: There are fewer.
        UnreadableImage: The file has groups for each frame, and none for this one.
    """
    frames = max(1, int(dataset.get("NumberOfFrames") or 1))
    if frame > frames == 1:
        raise NoSuchFrame(f"the DICOM file has 1 frame, and no frame {frame}: leave frame out")
    if frame > frames:
        raise NoSuchFrame(f"the DICOM file has {frames} frames, and no frame {frame}: give one from 1 to {frames}")
    if frame > 1 and PER_FRAME_GROUPS in dataset and not dataset[PER_FRAME_GROUPS].value:
        raise UnreadableImage(f"the DICOM file contradicts itself: {PER_FRAME_GROUPS} has fewer items than frames")
    return frames
