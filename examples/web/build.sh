#!/bin/sh
# Builds the page into the package, and the code that it shares with Node into examples/node.
# First: npm install --prefix examples --ignore-scripts --no-package-lock
set -eu
cd "$(dirname "$0")"
build="../node_modules/.bin/esbuild --log-level=warning --bundle --format=esm --target=es2022"
site=../../exporters/gmme_exporters/web/site
$build src/index.ts --outfile=../node/gmme_edge.js
for part in app capture offline; do
  $build --minify "src/$part.ts" --outfile="$site/$part.js"
done
$build --minify src/worker.ts --outfile="$site/worker.js" \
  --alias:onnxruntime-web/wasm=./ort/ort.wasm.bundle.min.mjs --external:./ort/*
cp static/index.html static/style.css "$site/"
