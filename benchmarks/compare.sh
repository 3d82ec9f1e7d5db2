#!/usr/bin/env bash
# Makes OUT/compare.{html,md,json,csv,tex}: spoken digits and ESC-10 by AA, GMME, GMME-lite and the fast
# family, in FP32, FP16 and INT8, on ONNX Runtime with one and two threads, and on OpenVINO where it is
# installed. torch is in cpu_latency.py.
#
# The shipped networks are trained, and their accuracy is measured. So are checkpoints under
# CHECKPOINTS/TASK/PRESET, as `gmme-edge train` leaves them (TASK: speech-commands, esc50). Any other network
# has random weights: its latency and size are those of a trained one, and it has no accuracy.
#
# Usage: benchmarks/compare.sh FSDD ESC-10 OUT [REPETITIONS [CHECKPOINTS]]      on an idle machine
set -euo pipefail
fsdd=$1 esc10=$2 out=$3 repetitions=${4:-100} checkpoints=${5:-/dev/null}
results=()

make() { # TASK MODELS DATA-SET FOLDER OPTIONS…: the bundles of one task, and their accuracies
    local task=$1 models=$2 model bundle source
    local clips=(--dataset "$3" --data "${@:4}") calibration=(--calib-dataset "$3" --calib-data "${@:4}")
    for model in $models; do
        source=$checkpoints/$task/$model
        [ -d "$source" ] || source=$model
        bundle=$out/$task/$model
        if [[ $source = eat-s-* ]]; then
            bundle+=-untrained
            gmme-edge export "$source" --untrained --task "$task" --classes 10 -o "$bundle" --precision fp32,fp16,int8
        else
            gmme-edge export "$source" -o "$bundle" --precision fp32,fp16,int8 "${calibration[@]}"
            gmme-edge evaluate "$bundle" "${clips[@]}" --precision fp32,fp16,int8-ort \
                -o "$out/accuracy-$task-$model.json"
            results+=("$out/accuracy-$task-$model".*.json)
        fi
    done
}

measure() { # TASK NAME OPTIONS…: its bundles take turns
    gmme-edge profile "$out/$1"/* "${@:3}" --repetitions "$repetitions" -o "$out/$1-$2.json"
    results+=("$out/$1-$2.json")
}

mkdir -p "$out"
make speech-commands "eat-s-aa digits eat-s-gmme-lite-k32c8 digits-edge" speech-commands "$fsdd"
make esc50 "eat-s-aa esc10 eat-s-gmme-lite-k32c8 esc10-edge" esc10 "$esc10" --fold 5

for task in speech-commands esc50; do
    measure $task ort --backend ort-cpu --precision fp32,fp16,int8-ort --threads 1,2
    if python3 -c 'import openvino' 2>/dev/null; then
        measure $task openvino --backend openvino --precision fp32,int8-ort --threads 1
    fi
    measure $task layers --layers --precision fp32
done
for form in html md json csv tex; do
    gmme-edge compare "${results[@]}" --baseline eat-s-aa -o "$out/compare.$form" > "$out/compare.txt"
done
