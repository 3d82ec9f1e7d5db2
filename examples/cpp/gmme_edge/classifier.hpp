// A bundle's network, checked against its golden vectors before it answers.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "bundle.hpp"
#include "network.hpp"
#include "resampler.hpp"
#if __has_include(<onnxruntime_cxx_api.h>)
#include "onnxruntime.hpp"
#define GMME_EDGE_ONNXRUNTIME
#endif

namespace gmme_edge {

struct Prediction {
  std::string label;
  double probability;
};

// The largest errors of the logits, relative to the largest logit.
struct GoldenErrors {
  double torch = 0;               // against torch's float32 outputs
  std::optional<double> repeat;   // against what this graph gave when it was exported
};

class Classifier {
 public:
#ifdef GMME_EDGE_ONNXRUNTIME
  // Loads a precision and checks every file that it reads, and its outputs.
  explicit Classifier(const std::string& folder, const std::string& precision = "fp32",
                      int threads = 1)
      : Classifier(Bundle(folder), precision, [&](const Bundle& bundle) {
          return std::make_unique<OnnxRuntime>(bundle, precision, threads);
        }) {}
#endif

  // Whatever `open` makes of the bundle runs it, and has to agree with the golden vectors.
  template <typename Open>
  Classifier(Bundle bundle, std::string precision, const Open& open)
      : bundle_(std::move(bundle)), precision_(std::move(precision)), network_(open(bundle_)) {
    check_golden();
  }

  const std::vector<std::string>& labels() const { return bundle_.manifest.labels; }
  int sample_rate_hz() const { return bundle_.manifest.sample_rate_hz; }
  std::size_t window_samples() const { return bundle_.manifest.n_samples; }
  const GoldenErrors& golden_errors() const { return errors_; }

  // Logits of one window at the network's rate.
  std::vector<float> logits(const std::vector<float>& window) {
    if (window.size() != window_samples()) throw Error("A window has another length.");
    std::vector<float> samples = window;
    float peak = 0;
    for (const float x : samples) peak = std::max(peak, std::abs(x));
    if (peak > 1'048'576)  // the network's own scaling would underflow
      for (float& x : samples) x /= peak;
    return network_->logits(samples);
  }

  std::vector<double> probabilities(const std::vector<float>& window) {
    const std::vector<float> found = logits(window);
    const double largest = double{*std::max_element(found.begin(), found.end())};
    std::vector<double> result;
    for (const float logit : found) result.push_back(std::exp(double{logit} - largest));
    const double sum = std::accumulate(result.begin(), result.end(), 0.0);
    for (double& each : result) each /= sum;
    return result;
  }

  // A whole sound of any rate and length, best label first: equally spaced windows, of which those
  // with sound are averaged.
  std::vector<Prediction> classify(const std::vector<float>& mono, int rate_hz, std::size_t top = 5) {
    const std::vector<float> sound = resample(mono, rate_hz, sample_rate_hz());
    const std::size_t size = window_samples();
    const std::size_t count = std::max<std::size_t>(1, (sound.size() + size - 1) / size);
    std::vector<std::vector<double>> rows;
    std::vector<double> shares;
    for (std::size_t i = 0; i < count; ++i) {
      const double step = count == 1 ? 0
                                     : static_cast<double>(sound.size() - size) /
                                           static_cast<double>(count - 1);
      const auto start = static_cast<std::size_t>(std::nearbyint(static_cast<double>(i) * step));
      const std::size_t end = std::min(sound.size(), start + size);
      std::vector<float> window(sound.begin() + static_cast<std::ptrdiff_t>(start),
                                sound.begin() + static_cast<std::ptrdiff_t>(end));
      window.resize(size);
      shares.push_back(sound_share(window));
      rows.push_back(probabilities(window));
    }
    const double least = 0.1 * *std::max_element(shares.begin(), shares.end());
    std::vector<Prediction> found;
    for (std::size_t label = 0; label < labels().size(); ++label) {
      double sum = 0, voters = 0;
      for (std::size_t i = 0; i < count; ++i)
        if (shares[i] >= least) sum += rows[i][label], ++voters;
      found.push_back({labels()[label], sum / voters});
    }
    std::stable_sort(found.begin(), found.end(), [](const Prediction& a, const Prediction& b) {
      return a.probability > b.probability;
    });
    found.resize(std::min(top, found.size()));
    return found;
  }

 private:
  // How much of a window reaches -80 dB of full scale, in frames of 32 samples.
  static double sound_share(const std::vector<float>& window) {
    std::size_t frames = 0, loud = 0;
    for (std::size_t at = 0; at < window.size(); at += 32, ++frames) {
      float peak = 0;
      for (std::size_t i = at; i < std::min(at + 32, window.size()); ++i)
        peak = std::max(peak, std::abs(window[i]));
      loud += double{peak} >= 1e-4;
    }
    return static_cast<double>(loud) / static_cast<double>(frames);
  }

  void check_golden() {
    const auto arrays = bundle_.golden();
    const auto find = [&](const std::string& name, std::size_t width) -> const Array* {
      const auto found = arrays.find(name);
      if (found == arrays.end()) return nullptr;
      const auto& shape = found->second.shape;
      if (shape.size() != 2 || shape[0] == 0 || shape[1] != width)
        throw Error("The golden vectors have another shape.");
      return &found->second;
    };
    const Array* waves = find("waveform", window_samples());
    const Array* expected = find("logits", labels().size());
    const Array* own = find("logits." + precision_, labels().size());
    if (!waves || !expected || waves->shape[0] != expected->shape[0])
      throw Error("The golden vectors are incomplete.");
    std::vector<float> found;
    for (std::size_t clip = 0; clip < waves->shape[0]; ++clip) {
      const auto at = waves->values.begin() + static_cast<std::ptrdiff_t>(clip * window_samples());
      const auto row = logits({at, at + static_cast<std::ptrdiff_t>(window_samples())});
      found.insert(found.end(), row.begin(), row.end());
    }
    errors_.torch = relative_error(found, expected->values);
    const auto limit = bundle_.manifest.limits.find(precision_);
    if (limit == bundle_.manifest.limits.end()) throw Error("The manifest states no limit.");
    if (own) errors_.repeat = relative_error(found, own->values);
    const double repeat_limit = precision_ == "fp32" ? 1e-3 : precision_ == "fp16" ? 1e-2 : 0.1;
    // Written so that an error that is not a number fails.
    if (!(errors_.torch <= limit->second) || !(errors_.repeat.value_or(0) <= repeat_limit))
      throw Error("The outputs differ from the golden vectors: relative error " +
                  std::to_string(errors_.torch) + ".");
  }

  static double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
    if (found.size() != expected.size()) throw Error("The golden vectors have another shape.");
    double error = 0, scale = 1e-12;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double difference = std::abs(double{found[i]} - double{expected[i]});
      if (!(difference <= error)) error = difference;
      scale = std::max(scale, std::abs(double{expected[i]}));
    }
    return error / scale;
  }

  Bundle bundle_;
  std::string precision_;
  std::unique_ptr<Network> network_;
  GoldenErrors errors_;
};

}  // namespace gmme_edge
