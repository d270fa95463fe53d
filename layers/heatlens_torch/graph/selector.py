"""Select which combination of the logits `[B,K]` is explained."""

import torch


def explained_selector(selector: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Fill the rows of a selector that are all zeros with the predicted class.

    Args:
        selector: `[B,K]`: the weights of the logits whose sum is explained.
        logits: `[B,K]`.

    Returns:
        `[B,K]`.
    """
    predicted = predicted_selector(logits)
    unset = (selector == 0).all(dim=1, keepdim=True)
    return torch.where(unset, predicted, selector)


def predicted_selector(logits: torch.Tensor) -> torch.Tensor:
    """Select each row's predicted class.

    For one logit that is its sign (+1 from 0 upwards, else -1), otherwise the one-hot argmax.
    """
    if logits.shape[1] == 1:
        return torch.where(logits >= 0, 1.0, -1.0)
    classes = torch.arange(logits.shape[1], device=logits.device)
    return (classes == logits.argmax(dim=1, keepdim=True)).to(logits.dtype)


def predicted_classes(logits: torch.Tensor) -> list[int]:
    """List the index of each row's predicted class; for one logit 1 is the positive class and 0 the negative one."""
    selector = predicted_selector(logits)
    if logits.shape[1] == 1:
        return [int(sign > 0) for sign in selector[:, 0].tolist()]
    return [int(index) for index in selector.argmax(dim=1).tolist()]
