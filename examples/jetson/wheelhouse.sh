#!/bin/sh
# On a desk with a network: every wheel that a board needs, in one folder to copy.
#     sh wheelhouse.sh PYTHON_VERSION FOLDER [PACKAGE …]
#     sh wheelhouse.sh 3.10 wheels                  # JetPack 6: what gmme-edge needs, with ONNX Runtime
# On the board, without a network:
#     python3 -m venv --system-site-packages venv
#     venv/bin/pip install --no-index --find-links wheels gmme-edge
set -eu
version=${1:?the Python of the board, as in 3.10}
folder=${2:?a folder for the wheels}
shift 2
[ $# -gt 0 ] || set -- onnxruntime numpy soundfile soxr msgspec platformdirs rich typer \
  starlette uvicorn websockets prometheus-client
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
$python -m pip download --quiet --dest "$folder" --only-binary :all: \
  --python-version "$version" --implementation cp \
  --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
  --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 "$@"
if [ -z "${NO_OWN_WHEEL:-}" ]; then
  $python -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$root"
fi
ls "$folder"
