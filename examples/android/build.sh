#!/bin/sh
# Compiles the app and its instrumented test against Android 6 (API 23), and what needs no device for
# a desktop, with warnings as errors.
#     sh build.sh ANDROID.jar ONNXRUNTIME.aar JSON.jar OUT
# docs/guides/android.md says where the three come from.
set -eu
android=${1:?android.jar} aar=${2:?the AAR of ONNX Runtime} json=${3:?org.json} out=${4:?a folder}
cd "$(dirname "$0")"
mkdir -p "$out"
unzip -q -o "$aar" classes.jar -d "$out"
kotlinc -Werror -no-jdk -jvm-target 1.8 -cp "$android:$out/classes.jar" -d "$out/app.jar" src test
kotlinc -Werror -jvm-target 1.8 -cp "$json" -include-runtime -d "$out/vectors.jar" \
  src/Bundle.kt src/Classifier.kt src/Grid.kt src/Rules.kt src/Events.kt src/Gate.kt \
  src/Resampler.kt src/Stream.kt desktop
