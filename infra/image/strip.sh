#!/bin/sh
# /opt/venv -> the same without what nobody needs there.
set -eu
here=/opt/venv/lib/python3*/site-packages

# OpenVINO: the processor's plugin and the reader of ONNX are what is used.
rm -rf $here/openvino/include $here/openvino/tools $here/openvino_telemetry*
for part in intel_gpu_plugin intel_npu_plugin auto_plugin auto_batch_plugin hetero_plugin \
    tensorflow_frontend tensorflow_lite_frontend pytorch_frontend paddle_frontend jax_frontend gguf_frontend; do
  rm -f $here/openvino/libs/libopenvino_$part.so*
done
rm -f $here/openvino/libs/cache.json # kernels of the GPU plugin
# ONNX Runtime: what runs graphs.
rm -rf $here/onnxruntime/transformers $here/onnxruntime/tools $here/onnxruntime/quantization $here/onnxruntime/datasets
# boto3: the services of layers/heatlens_aws/clients.py, and where credentials may come from.
for service in $here/botocore/data/*/; do
  case $(basename "$service") in
    dynamodb | s3 | sagemaker-runtime | sqs | sts | sso | sso-oidc) ;;
    *) rm -rf "$service" ;;
  esac
done
rm -rf $here/boto3/examples $here/pydicom/data/test_files
find $here -type d -name tests -prune -exec rm -rf {} +
