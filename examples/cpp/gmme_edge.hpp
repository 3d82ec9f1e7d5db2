// Runs a gmme-edge bundle: loads and verifies it, classifies sounds, and turns a stream into events.
// Header-only, C++17; needs ONNX Runtime's C++ API and nlohmann/json. zlib is optional: with
// GMME_EDGE_ZLIB defined, golden vectors of old bundles, which are compressed, can be read too.
#pragma once

#include "gmme_edge/classifier.hpp"
#include "gmme_edge/stream.hpp"
#include "gmme_edge/wav.hpp"
