#!/usr/bin/env bash
# What INT8 costs and gains: the tables of docs/results/quantization.md.
#
# Usage: benchmarks/quantization.sh DATASET DATA FOLD|- OUT CHECKPOINT…
# Per checkpoint four bundles (the front in floating point; nothing, for TensorRT; nothing, equalised and
# corrected; what the search finds within 0.5 points; none where it finds none), each scored on the test
# clips by precision.
set -euo pipefail
dataset=$1 data=$2 fold=$3 out=$4
shift 4
where=(--fold "$fold")
[ "$fold" = - ] && where=()

for checkpoint in "$@"; do
    name=$(basename "$checkpoint")
    bundle() { # VARIANT PRECISIONS OPTIONS…
        local folder=$out/$name-$1 precisions=$2
        [ -e "$folder/manifest.json" ] || gmme-edge export "$checkpoint" -o "$folder" \
            --precision "$precisions" --calib-dataset "$dataset" --calib-data "$data" \
            "${where[@]}" "${@:3}" || return
        gmme-edge evaluate "$folder" --dataset "$dataset" --data "$data" "${where[@]}" \
            --precision "$precisions" -o "$folder.json"
    }
    all=fp32,fp16,int8-ort,int8-tensorrt
    bundle front $all
    bundle integers fp32,int8-tensorrt --int8-float none
    bundle nothing $all --int8-float none --calib-method mse --bias-correction
    bundle search $all --max-accuracy-drop 0.5 || true
done
