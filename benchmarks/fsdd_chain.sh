#!/usr/bin/env bash
# The whole chain on real recordings: AA and GMME K32C8 on the Free Spoken Digit Dataset (in the
# layout of Speech Commands), from training to the comparison in docs/results/fsdd.md.
#
# Usage: benchmarks/fsdd_chain.sh FSDD OUT      about 70 minutes on 2 cores, resumable
set -euo pipefail
data=$1 out=$2
dataset=(--dataset speech-commands --data "$data")
models=(eat-s-aa eat-s-gmme-k32c8)

for model in "${models[@]}"; do # side by side, one thread each
    gmme-edge train "${dataset[@]}" --model "$model" --epochs 5 --batch-size 16 --threads 1 \
        -o "$out/$model-checkpoint" &
done
wait

results=()
for model in "${models[@]}"; do
    gmme-edge export "$out/$model-checkpoint" -o "$out/$model-bundle" --precision fp32,fp16,int8 \
        --calib-dataset speech-commands --calib-data "$data" \
        --engine tensorrt-rtx --sm 86,89,120
    gmme-edge verify "$out/$model-bundle"
    for precision in fp32 fp16 int8-ort int8-tensorrt; do
        result=$out/accuracy-$model-$precision.json
        gmme-edge evaluate "$out/$model-bundle" "${dataset[@]}" --precision "$precision" -o "$result"
        results+=("$result")
    done
done

gmme-edge profile "$out"/*-bundle --precision fp32,fp16,int8 --threads 1,2 --repetitions 200 \
    -o "$out/latency.json"
gmme-edge compare "$out/latency.json" "${results[@]}" -o "$out/report.md"
