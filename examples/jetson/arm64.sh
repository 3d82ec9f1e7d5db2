#!/bin/sh
# The runtime in an aarch64 user space under qemu, on a desk without a board; docs/results/arm64.md
# holds what it gave. As root, on Debian: apt install qemu-user-static debootstrap binfmt-support
#     sh examples/jetson/arm64.sh FOLDER BUNDLE RECORDING.wav
# BUNDLE: gmme-edge export MODEL -o BUNDLE --precision fp32,int8 --target ort-arm …
set -eu
box=${1:?a folder for the user space} bundle=${2:?a bundle} sound=${3:?a recording}
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ ! -x "$box/usr/bin/python3" ]; then
  debootstrap --foreign --variant=minbase --arch=arm64 \
    --include=python3,libgomp1,ca-certificates bookworm "$box.new"
  mkdir -p "$box"
  # Unpacked, not configured: that takes a quarter of an hour under qemu, and nothing here needs it.
  for package in "$box.new"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$box"; done
fi
mkdir -p "$box/opt/src" "$box/opt/run" "$box/dev" "$box/proc" "$box/tmp"
[ -e "$box/dev/null" ] || mknod -m 666 "$box/dev/null" c 1 3
[ -e "$box/dev/urandom" ] || mknod -m 666 "$box/dev/urandom" c 1 9
uv pip install -q --python-platform aarch64-manylinux_2_28 --python-version 3.11 \
  --target "$box/opt/site" --only-binary :all: \
  onnxruntime numpy soundfile soxr msgspec platformdirs rich typer pytest hypothesis onnx cryptography
git -C "$root" archive HEAD gmme_edge exporters calibration tests docs examples pyproject.toml README.md \
  | tar x -C "$box/opt/src"
rm -f "$box/opt/src/tests/conftest.py" # it wants torch, which a board has not
cp -r "$bundle" "$box/opt/run/bundle"
cp "$sound" "$box/opt/run/sound.wav"
mount -t proc proc "$box/proc"
# No /sys: with it ONNX Runtime crashed under qemu (signal 11), without it not.
trap 'umount "$box/proc"' EXIT
inside() {
  chroot "$box" /usr/bin/env -C /opt/src HOME=/tmp OMP_NUM_THREADS=1 \
    PYTHONPATH=/opt/src:/opt/src/exporters:/opt/src/calibration:/opt/site /usr/bin/python3 "$@"
}
inside -c "import platform; print(platform.machine(), platform.python_version())"
inside -m gmme_edge.cli.app verify /opt/run/bundle
for precision in fp32 int8; do
  inside -m gmme_edge.cli.app listen /opt/run/bundle --file /opt/run/sound.wav --precision $precision
done
inside -m pytest -q -p no:cacheprovider -m "not slow" tests/runtime/streaming \
  tests/runtime/test_outputs.py tests/runtime/test_session.py \
  tests/runtime/test_onnxruntime.py tests/runtime/test_engine_cache.py \
  tests/runtime/test_tensorrt_runtime.py
