"""Compare compiled graphs with the owner's own file, run by the library that it was made for."""

import numpy as np

from heatlens.card import OriginalProof
from heatlens.engines.base import Engine
from heatlens.errors import ParityError
from heatlens.types import Floats
from heatlens_torch.loading.built_network import Original
from heatlens_torch.loading.spec import PROOF_INPUTS
from heatlens_torch.proof.parity import THRESHOLD, ratio, spans


def compare_with_original(
    original: Original | None, engine: Engine, images: Floats, logits: int
) -> OriginalProof | None:
    """Compare the logits of the compiled graphs with the file's; `None` where the network is not of such a file.

    Args:
        original: Runs the file.
        engine: Executes the compiled graphs.
        images: `[N,C,H,W]`, preprocessed; the first are compared.
        logits: K.

    Raises:
        ParityError: They differ, or the file's answers differ from the softmax or sigmoid of the compiled logits.
    """
    if original is None:
        return None
    images = images[:PROOF_INPUTS]
    ours = _logits(engine, images, logits)
    theirs, answers = original.run(images)
    proof = OriginalProof(
        engine=original.name,
        images=len(images),
        logits=ratio(ours, theirs),
        end=original.end,
        answers=ratio(_squashed(ours, original.end), answers) if original.end else None,
        threshold=THRESHOLD,
    )
    if not max(proof.logits, proof.answers or 0) <= THRESHOLD:
        raise ParityError(
            f"the compiled network differs from the file in {original.name}: logits {proof.logits:.1e}"
            + (f", after the {proof.end} {proof.answers:.1e}" if proof.answers is not None else "")
            + f", allowed {THRESHOLD:.0e}: an operator of the file is computed differently here"
        )
    return proof


def _logits(engine: Engine, images: Floats, count: int) -> Floats:
    """Compute the logits in batches of different sizes."""
    parts = []
    for span in spans(images.shape):
        crossing = engine.trunk(images[span])
        parts.append(engine.tail(crossing, np.zeros((len(crossing[0]), count), np.float32))[0])
    found: Floats = np.concatenate(parts)
    return found


def _squashed(logits: Floats, end: str | None) -> Floats:
    wide = logits.astype(np.float64)
    if end == "sigmoid":
        squashed = 1 / (1 + np.exp(-wide))
    else:
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        squashed = powers / powers.sum(axis=1, keepdims=True)
    return squashed.astype(np.float32)
