"""The image classifiers of transformers, each as the configuration of a small network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

PIXELS = 64
SMALLER = 32  # of networks whose grid has a cell for each pixel
LARGER = 128  # of networks whose last grid would have fewer than 4x4 cells


@dataclass(frozen=True, slots=True)
class HfFamily:
    """A model type of transformers, and the fields of its configuration that make it small."""

    model_type: str
    fields: dict[str, object] = field(default_factory=dict)
    pixels: int = PIXELS


def _family(
    model_type: str, common: Mapping[str, object] | None = None, *, pixels: int = PIXELS, **fields: object
) -> HfFamily:
    return HfFamily(model_type, {**(common or {}), **fields}, pixels)


_TOWER: dict[str, object] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_VIT: dict[str, object] = _TOWER | {"image_size": PIXELS, "patch_size": 8}
_STAGES: dict[str, object] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_WINDOWS: dict[str, object] = {"image_size": PIXELS, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4]}
_PYRAMID: dict[str, object] = {
    "image_size": LARGER,
    "hidden_sizes": [16, 16, 32, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
}
_TEXT: dict[str, object] = _TOWER | {"vocab_size": 30}

HF_FAMILIES = (
    _family("beit", _VIT),
    _family("bit", embedding_size=32, hidden_sizes=[64, 64, 128, 128], depths=[1, 1, 1, 1], num_groups=8),
    _family("clip", vision_config=_VIT, text_config=_TEXT),
    _family("convnext", _STAGES),
    _family("convnextv2", _STAGES),
    _family("cvt", embed_dim=[8, 16, 32], depth=[1, 2, 3], num_heads=[1, 1, 2]),
    _family("data2vec-vision", _VIT),
    _family("deit", _VIT),
    _family("dinov2", _VIT),
    _family("dinov2_with_registers", _VIT),
    _family("donut-swin", _WINDOWS, window_size=4),
    _family("efficientnet", image_size=PIXELS, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320),
    _family("focalnet", image_size=PIXELS, embed_dim=16, depths=[1, 1], focal_levels=[1, 1], focal_windows=[3, 3]),
    _family(
        "hgnet_v2",
        embedding_size=16,
        stem_channels=[3, 8, 16],
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        stage_in_channels=[16, 16, 32, 48],
        stage_mid_channels=[8, 8, 16, 16],
        stage_out_channels=[16, 32, 48, 64],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
    ),
    _family(
        "hiera",
        image_size=[PIXELS, PIXELS],
        embed_dim=16,
        depths=[1, 1],
        num_heads=[1, 2],
        query_stride=[2, 2],
        masked_unit_size=[4, 4],
        num_query_pool=1,
    ),
    _family("ijepa", _VIT),
    _family(
        "levit",
        pixels=LARGER,
        image_size=LARGER,
        hidden_sizes=[16, 24, 32],
        num_attention_heads=[1, 2, 2],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    _family("metaclip_2", vision_config=_VIT, text_config=_TEXT),
    _family("mobilenet_v1", image_size=PIXELS, depth_multiplier=0.25),
    _family("mobilenet_v2", image_size=PIXELS, depth_multiplier=0.35),
    _family(
        "mobilevit",
        image_size=PIXELS,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
        num_attention_heads=2,
    ),
    _family("mobilevitv2", image_size=PIXELS, width_multiplier=0.25),
    _family(
        "perceiver",
        pixels=SMALLER,
        image_size=SMALLER,
        num_latents=32,
        d_latents=16,
        d_model=16,
        num_blocks=1,
        num_self_attends_per_block=1,
        num_self_attention_heads=2,
        num_cross_attention_heads=1,
    ),
    _family("poolformer", _STAGES),
    _family("pp_lcnet", scale=0.25),
    _family("pvt", _PYRAMID, pixels=LARGER, mlp_ratios=[2, 2, 2, 2], sequence_reduction_ratios=[8, 4, 2, 1]),
    _family("pvt_v2", _PYRAMID, pixels=LARGER, mlp_ratios=[2, 2, 2, 2]),
    _family("regnet", embedding_size=8, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], groups_width=8),
    _family("resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    _family("segformer", _STAGES, pixels=LARGER, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16),
    _family("siglip", vision_config=_VIT, text_config=_TEXT),
    _family("swiftformer", image_size=PIXELS, depths=[1, 1, 1, 1], embed_dims=[8, 16, 24, 32]),
    _family("swin", _WINDOWS, window_size=4),
    _family("swinv2", _WINDOWS, window_size=4),
    _family("textnet"),
    _family("timm_wrapper", architecture="test_resnet"),
    _family("vit", _VIT),
    _family("vit_msn", _VIT),
)
# Not saved here, and why.
LEFT_OUT = {
    "dinat": "needs the library natten, which is native code",
    "imagegpt": "takes numbers of color clusters, and is refused",
    "shieldgemma2": "is a language model of billions of weights that answers yes or no",
    "siglip2": "takes patches that its processor cuts, and is refused",
}
