#!/bin/sh
# Remove from /opt/venv what the image does not use.
set -eu
here=/opt/venv/lib/python3*/site-packages

# OpenVINO: only the CPU plugin and the ONNX frontend are used.
rm -rf $here/openvino/include $here/openvino/tools $here/openvino_telemetry*
for part in intel_gpu_plugin intel_npu_plugin auto_plugin auto_batch_plugin hetero_plugin \
    tensorflow_frontend tensorflow_lite_frontend pytorch_frontend paddle_frontend jax_frontend gguf_frontend; do
  rm -f $here/openvino/libs/libopenvino_$part.so*
done
rm -f $here/openvino/libs/cache.json # the GPU plugin's kernels
# ONNX Runtime: only the library that runs graphs is used.
rm -rf $here/onnxruntime/transformers $here/onnxruntime/tools $here/onnxruntime/quantization $here/onnxruntime/datasets
# GDCM: the module and one copy of each library, of which the wheel has three; no tools and no tables of names.
for library in $here/_gdcm/*.so; do
  for copy in "$library".*; do
    if cmp -s "$library" "$copy"; then ln -sf "$(basename "$library")" "$copy"; fi
  done
done
find $here/_gdcm -maxdepth 1 -type f ! -name '*.so' ! -name '*.py' ! -name '*.so.*' -delete
rm -rf $here/_gdcm/XML $here/_gdcm/scripts $here/_gdcm/gdcmopenjpeg-*
# boto3: keep the services of layers/heatlens_aws/clients.py and those that credentials may come from.
for service in $here/botocore/data/*/; do
  case $(basename "$service") in
    dynamodb | s3 | sagemaker-runtime | sqs | sts | sso | sso-oidc) ;;
    *) rm -rf "$service" ;;
  esac
done
rm -rf $here/boto3/examples $here/pydicom/data/test_files
find $here -type d -name tests -prune -exec rm -rf {} +
