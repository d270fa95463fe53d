"""Name every method of pytorch-grad-cam 1.5.7 as clients do, without importing it, which takes seconds."""

CLASSES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "gradcam-elementwise": "GradCAMElementWise",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "segeigencam": "SegEigenCAM",
    "kpcacam": "KPCA_CAM",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
    "shapleycam": "ShapleyCAM",
    "finercam": "FinerCAM",
    "fem": "FEM",
    "randomcam": "RandomCAM",
    "fullgrad": "FullGrad",
    "sess": "SESS",
    "refinecam": "RefineCAM",
}
# These have no map of the layer before ReLU: they sum, multiply or average maps that are already scaled.
HEAT_ONLY = frozenset({"fullgrad", "sess", "refinecam"})

# Of the methods that the core does not have, these compute no gradient.
GRADIENT_FREE = frozenset({"kpcacam", "fem"})

# sess runs 122 to 129 windows of twelve sizes of a square image, once for their scores and once for their maps.
SESS_PASSES = 2 * 129
# The methods that the core does not have, and how often each runs the network for one image.
METHODS = {
    "segeigencam": 1,
    "kpcacam": 1,
    "shapleycam": 1,
    "finercam": 1,
    "fem": 1,
    "randomcam": 1,
    "fullgrad": 1,
    "refinecam": 1,
    "sess": SESS_PASSES,
}
