#!/usr/bin/env bash
# Trains the networks of docs/results/accuracy.md and scores them: ESC-10 (fold 5) and spoken digits
# (the official lists), AA and GMME K32C8 side by side with one thread each, then their paired tests.
#
# Usage: benchmarks/accuracy.sh ESC-10 FSDD OUT      about 5 hours on 2 cores, resumable
set -euo pipefail
esc10=$1 fsdd=$2 out=$3
models=(aa gmme-k32c8)

train() { # RUN OPTIONS…: both networks
    local run=$1 model
    shift
    for model in "${models[@]}"; do
        gmme-edge train --threads 1 -o "$out/$run-$model" "${@//MODEL/$model}" &
    done
    wait
}

# Short windows teach as much per clip in a third of the time; the last epochs hear whole clips.
train esc10-short --dataset esc10 --data "$esc10" --fold 5 --model eat-s-MODEL --samples 40960 \
    --epochs 50 --batch-size 8 --lr 1.2e-4 --set mixing_from_epoch=35
train esc10 --dataset esc10 --data "$esc10" --fold 5 --init "$out/esc10-short-MODEL" \
    --epochs 4 --batch-size 8 --lr 1e-4 --set mixing=false
train digits-short --dataset speech-commands --data "$fsdd" --model eat-s-MODEL --samples 8192 \
    --epochs 10 --batch-size 16
train digits --dataset speech-commands --data "$fsdd" --init "$out/digits-short-MODEL" \
    --samples 16384 --epochs 4 --batch-size 16 --lr 1.5e-4

score() { # RUN OPTIONS…
    local run=$1 model
    shift
    for model in "${models[@]}"; do
        gmme-edge export "$out/$run-$model" -o "$out/$run-$model-bundle" --precision fp32,int8 \
            --calib-dataset "$2" --calib-data "$4" "${@:5}"
        for precision in fp32 int8-ort; do
            gmme-edge evaluate "$out/$run-$model-bundle" "$@" --precision "$precision" \
                -o "$out/$run-$model-$precision.json"
        done
    done
    gmme-edge paired "$out/$run-gmme-k32c8-fp32.json" "$out/$run-aa-fp32.json"
}

score esc10 --dataset esc10 --data "$esc10" --fold 5
score digits --dataset speech-commands --data "$fsdd"
