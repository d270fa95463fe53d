"""Make a commented `model.toml` to start from, with the fields' own descriptions."""

from heatlens_torch.loading.spec import PROGRAM, TORCHVISION, Description

_OPTIONAL = {
    "arguments": "{}",
    "sha256": '"…"',
    "weights_entry": '"state_dict_ema"',
    "weights_prefix": '"model."',
    "output_entry": '"logits"',
    "input_entry": '"image"',
    "constants": "{ age = [63.0] }",
    "layer": '"layer4"',
    "grid": "[14, 14]",
    "class_tokens": "1",
    "gradients": "false",
    "inputs": '"my_images:some"',
    "calibration_images": "64",
    "evaluation": '"my_images:judge"',
    "training": '"training.json"',
    "notice": '"Not for medical use."',
}
_PREPROCESS = {
    "resize": ("256", "[height, width], or one number for the shorter side"),
    "crop": ("[224, 224]", "center crop after it, [height, width]"),
    "interpolation": ('"bilinear"', "nearest, bilinear, bicubic"),
    "mean": ("[0.485, 0.456, 0.406]", "of each channel, on values in 0..1"),
    "std": ("[0.229, 0.224, 0.225]", ""),
}
_REFERENCE = {"image": '"reference.png"', "logits": "[1.5, -0.25]", "tolerance": "0.01"}
_LITRESNET = {"classes": '["NORMAL", "PNEUMONIA"]', "output": '"sigmoid"', "layer": '"features.7"'}
_LITRESNET_PREPROCESS = _PREPROCESS | {"resize": ("[224, 224]", _PREPROCESS["resize"][1])}
_TO_FILL_IN = {"classes": '["NEGATIVE", "POSITIVE"]', "output": '"sigmoid"'}
_WIDTH = 110  # of a comment


def template(architecture: str = "torchvision:resnet50") -> str:
    """Make a description for `architecture`; keys that are not required are comments.

    What only the user knows of a network (its classes, its preprocessing in training) is a comment too: compiling asks
    for it, and nothing is guessed.
    """
    scheme = architecture.partition(":")[0]
    litresnet = architecture == "litresnet-enhanced"
    filled = {"name": '"my-model"', "version": '"1"', "architecture": f'"{architecture}"'}
    filled |= _LITRESNET if litresnet else {}
    if scheme != PROGRAM:
        filled["weights"] = '"DEFAULT"' if scheme == TORCHVISION else '"weights.ckpt"'
    lines = _wrapped("A model description for `heatlens compile`; paths are relative to this file.")
    for key in Description.model_fields:
        if key not in ("preprocess", "reference"):
            example = filled.get(key) or _TO_FILL_IN.get(key) or _OPTIONAL.get(key, '"DEFAULT"')
            lines += ["", *_wrapped(_about(key) + _request(key, scheme, filled))]
            lines.append(f"{'' if key in filled else '# '}{key} = {example}")
    lines += ["", *_wrapped(_about("preprocess") + ("" if litresnet else _request("preprocess", scheme, filled)))]
    mark = "" if litresnet else "# "
    lines.append(f"{mark}[preprocess]")
    for key, (value, about) in (_LITRESNET_PREPROCESS if litresnet else _PREPROCESS).items():
        lines.append(
            f"{'# ' if litresnet and key == 'crop' else mark}{key} = {value}" + (f"  # {about}" if about else "")
        )
    lines += ["", *_wrapped(_about("reference")), "# [reference]"]
    lines += [f"# {key} = {value}" for key, value in _REFERENCE.items()]
    return "\n".join(lines) + "\n"


def _request(key: str, scheme: str, filled: dict[str, str]) -> str:
    if key in filled or key not in (*_TO_FILL_IN, "preprocess"):
        return ""
    return " torchvision's own weights bring it." if scheme == TORCHVISION else " TO FILL IN."


def _about(key: str) -> str:
    return str(Description.model_fields[key].description)


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [f"# {line}" for line in lines]
