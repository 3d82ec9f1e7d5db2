#!/usr/bin/env bash
# Makes OUT/compare.{html,md,json,csv,tex}: spoken digits and ESC-10 by AA, GMME and GMME-lite,
# in FP32, FP16 and INT8, on ONNX Runtime with one and two threads, and on OpenVINO where it is installed.
#
# GMME is the shipped, trained network, whose accuracy is measured. AA and GMME-lite have random weights:
# their latencies and sizes are those of trained ones, and they have no accuracy.
#
# Only the half of the digits was tried, in parts; as a whole it has not run to its end yet. torch is in cpu_latency.py.
#
# Usage: benchmarks/compare.sh FSDD ESC-10 OUT [REPETITIONS]      on a machine with nothing else to do
set -euo pipefail
fsdd=$1 esc10=$2 out=$3 repetitions=${4:-100}
precisions=fp32,fp16,int8
backends=ort-cpu
python3 -c 'import openvino' 2>/dev/null && backends+=,openvino

results=()
make() { # NAME TASK DATA-SET OPTIONS…: bundles, accuracies and latencies of one task
    local name=$1 task=$2 model
    shift 2
    gmme-edge export "$name" -o "$out/$name-gmme" --precision "$precisions" \
        --calib-dataset "$1" --calib-data "$2" "${@:3}"
    for model in aa gmme-lite-k32c8; do
        gmme-edge export "eat-s-$model" --untrained --task "$task" --classes 10 \
            -o "$out/$name-$model-untrained" --precision "$precisions"
    done
    gmme-edge evaluate "$out/$name-gmme" --dataset "$1" --data "$2" "${@:3}" \
        --precision fp32,fp16,int8-ort -o "$out/$name-accuracy.json"
    gmme-edge profile "$out/$name"-{aa-untrained,gmme,gmme-lite-k32c8-untrained} --backend "$backends" \
        --precision fp32,fp16,int8-ort --threads 1,2 --repetitions "$repetitions" -o "$out/$name-latency.json"
    gmme-edge profile "$out/$name"-{aa-untrained,gmme,gmme-lite-k32c8-untrained} --layers --precision fp32 \
        --repetitions 20 -o "$out/$name-layers.json"
    results+=("$out/$name-latency.json" "$out/$name"-accuracy.*.json "$out/$name-layers.json")
}

make digits speech-commands speech-commands "$fsdd"
make esc10 esc50 esc10 "$esc10" --fold 5

for form in html md json csv tex; do
    gmme-edge compare "${results[@]}" --baseline eat-s-aa -o "$out/compare.$form" > "$out/compare.txt"
done
