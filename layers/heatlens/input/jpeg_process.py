"""Decode a JPEG that only GDCM reads, lossless or of 12 bits, in a process of its own: damaged headers end it.

A program of the standard library and GDCM alone, so that it starts in a tenth of a second.
"""

import signal
import subprocess
import sys

_DEADLINE_S = 30
_MISSING = 3  # exit status
_PROGRAM = f"from {__name__} import main; main()"


class DecoderFailed(Exception):
    """The stream cannot be decoded."""


class DecoderMissing(Exception):
    """GDCM is not installed."""


def decode_jpeg(frame: bytes, *, syntax: str, shape: tuple[int, int, int], allocated: int, stored: int) -> bytes:
    """Decode a frame to its samples, by pixel, little endian, unsigned.

    Args:
        frame: The JPEG stream.
        syntax: UID of its transfer syntax.
        shape: Rows, columns and samples per pixel.
        allocated: Bits of a sample in the result.
        stored: Bits that a sample has.

    Raises:
        DecoderFailed: The stream is damaged: the process reported an error, ended, took too long, or wrote another
            number of bytes.
        DecoderMissing: GDCM is not installed.
        MemoryError: The process was killed, as the system does where memory runs out.
    """
    arguments = [syntax, *map(str, (*shape, allocated, stored))]
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    try:
        # The program is this module's, and the arguments are a UID that was compared and numbers.
        done = subprocess.run(  # noqa: S603
            command,
            input=frame,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
            process_group=0,  # a terminal's Ctrl-C reaches the caller alone
        )
    except subprocess.TimeoutExpired:
        raise DecoderFailed from None
    rows, columns, samples = shape
    if done.returncode == _MISSING:
        raise DecoderMissing
    if done.returncode == -signal.SIGKILL:
        raise MemoryError("the process that decodes was killed")
    if done.returncode or len(done.stdout) != rows * columns * samples * allocated // 8:
        raise DecoderFailed
    return done.stdout


def main() -> None:
    """Decode standard input to standard output, by the command's arguments."""
    try:
        import gdcm
    except ModuleNotFoundError:
        sys.exit(_MISSING)
    syntax, rows, columns, samples, allocated, stored = sys.argv[1], *map(int, sys.argv[2:])
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    color = "RGB" if samples > 1 else "MONOCHROME2"
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(color)))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, stored, stored - 1, 0))
    # GDCM's bytes arrive as text, decoded so that no byte is lost.
    sys.stdout.buffer.write(image.GetBuffer().encode("utf-8", "surrogateescape"))
