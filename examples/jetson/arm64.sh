#!/bin/sh
# The runtime in an aarch64 user space under qemu, on a desk without a board; docs/results/arm64.md
# holds what it gave. As root, on Debian: apt install qemu-user-static debootstrap binfmt-support
#     PYTHON=.venv/bin/python sh examples/jetson/arm64.sh FOLDER BUNDLE RECORDING.wav
# PYTHON: one with torch, which makes the small bundles of the tests. A few minutes on an idle desk.
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
mkdir -p "$box/opt/src" "$box/opt/run" "$box/dev/shm" "$box/proc" "$box/tmp"
[ -e "$box/dev/null" ] || mknod -m 666 "$box/dev/null" c 1 3
[ -e "$box/dev/urandom" ] || mknod -m 666 "$box/dev/urandom" c 1 9
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64
uv pip install -q --python-platform aarch64-manylinux_2_28 --python-version 3.11 \
  --target "$box/opt/site" --only-binary :all: \
  onnxruntime numpy soundfile soxr msgspec platformdirs rich typer pytest hypothesis onnx cryptography
rm -rf "$box/opt/src" "$box/opt/run"
mkdir -p "$box/opt/src" "$box/opt/run"
git -C "$root" archive HEAD gmme_edge exporters calibration tests docs examples pyproject.toml README.md \
  | tar x -C "$box/opt/src"
cp -r "$bundle" "$box/opt/run/bundle"
cp "$sound" "$box/opt/run/sound.wav"
# A board has no torch: it gets the small bundles of the tests ready-made.
PYTHONPATH=$root:$root/exporters:$root/calibration "${PYTHON:-python3}" - "$box/opt/run/ready" <<'END'
import sys
from pathlib import Path

from tests.artifacts import compact_bundle, full_bundle, incremental_bundle

root = Path(sys.argv[1])
root.mkdir()
full_bundle(root)
incremental_bundle(root)
for kind in ("gmme", "aa"):
    compact_bundle(root, kind)
END
mount -t proc proc "$box/proc"
# No /sys: with it ONNX Runtime crashed under qemu (signal 11), without it not.
trap 'umount "$box/proc"' EXIT
inside() {
  echo "\$ python $*"
  chroot "$box" /usr/bin/env -C /opt/src HOME=/tmp OMP_NUM_THREADS=1 COLUMNS=100 \
    GMME_EDGE_TEST_ARTIFACTS=/opt/run/ready \
    PYTHONPATH=/opt/src:/opt/src/exporters:/opt/src/calibration:/opt/site /usr/bin/python3 "$@"
}
inside -c "import platform; print(platform.machine(), platform.python_version())"
inside -m gmme_edge.cli.app verify /opt/run/bundle
for precision in fp32 int8; do
  inside -m gmme_edge.cli.app listen /opt/run/bundle --file /opt/run/sound.wav --hop-ms 1000 \
    --precision $precision --json
done
inside -m pytest -p no:cacheprovider --hypothesis-profile=ci -rs tests/runtime
