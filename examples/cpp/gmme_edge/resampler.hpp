// Band-limited resampling in blocks of any size.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "bytes.hpp"

namespace gmme_edge {

// A linear-phase low-pass filter (a sinc under a Kaiser window, 120 dB) with the pass band of
// soxr's high quality, which the Python runtime uses: 0.913 of the lower rate's half. Its delay is
// compensated, and n samples become the nearest whole number to n·to/from.
class Resampler {
 public:
  Resampler(int from_hz, int to_hz) {
    if (from_hz < 1 || to_hz < 1) throw Error("Sample rates are positive.");
    const std::int64_t common = std::gcd(from_hz, to_hz);
    step_ = from_hz / common, phases_ = to_hz / common;
    const double lower = std::min(1.0, static_cast<double>(to_hz) / from_hz);
    cutoff_ = 0.5 * (1 + 0.913) * lower;
    const double width = (1 - 0.913) * lower * kPi;
    reach_ = from_hz == to_hz ? 0 : static_cast<std::int64_t>((kDecibels - 8) / (4.57 * width)) + 1;
    clear();
  }

  // What is ready after `block`.
  std::vector<float> push(const float* block, std::size_t count) {
    held_.insert(held_.end(), block, block + count);
    taken_ += static_cast<std::int64_t>(count);
    if (taken_ <= reach_) return {};  // division rounds towards zero
    return make((taken_ - reach_ - 1) * phases_ / step_ + 1);
  }

  // What is left; the next block begins anew.
  std::vector<float> finish() {
    const std::int64_t total = (2 * taken_ * phases_ + step_) / (2 * step_);
    held_.resize(held_.size() + static_cast<std::size_t>(reach_ + 2), 0.0F);
    std::vector<float> rest = make(total);
    clear();
    return rest;
  }

 private:
  static constexpr double kPi = 3.14159265358979323846, kDecibels = 125;

  void clear() {
    made_ = taken_ = 0;
    first_ = -reach_;
    held_.assign(static_cast<std::size_t>(reach_), 0.0F);
  }

  std::vector<float> make(std::int64_t until) {
    std::vector<float> out;
    for (; made_ < until; ++made_) {
      const std::int64_t middle = made_ * step_ / phases_;
      const std::vector<double>& taps = phase(made_ * step_ % phases_);
      const float* from = held_.data() + (middle - reach_ + 1 - first_);
      if (reach_ == 0) {
        out.push_back(held_[static_cast<std::size_t>(middle - first_)]);
        continue;
      }
      double sum = 0;
      for (std::size_t i = 0; i < taps.size(); ++i) sum += taps[i] * double{from[i]};
      out.push_back(static_cast<float>(sum));
    }
    const std::int64_t keep = made_ * step_ / phases_ - reach_;
    if (keep - first_ > 65'536) {
      held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(keep - first_));
      first_ = keep;
    }
    return out;
  }

  // Weights of the 2·reach samples around an output that lies `phase` steps behind a sample.
  const std::vector<double>& phase(std::int64_t which) {
    std::vector<double>& taps = taps_[which];
    if (!taps.empty() || reach_ == 0) return taps;
    const double beta = 0.1102 * (kDecibels - 8.7), whole = bessel(beta);
    double sum = 0;
    for (std::int64_t i = 0; i < 2 * reach_; ++i) {
      const double x = static_cast<double>(i - reach_ + 1) -
                       static_cast<double>(which) / static_cast<double>(phases_);
      const double part = x / static_cast<double>(reach_), angle = kPi * cutoff_ * x;
      const double window = std::abs(part) >= 1 ? 0 : bessel(beta * std::sqrt(1 - part * part)) / whole;
      taps.push_back((angle == 0 ? 1 : std::sin(angle) / angle) * cutoff_ * window);
      sum += taps.back();
    }
    for (double& tap : taps) tap /= sum;
    return taps;
  }

  static double bessel(double x) {  // I0
    double sum = 1, term = 1;
    for (int k = 1; term > 1e-18 * sum; ++k) sum += term *= (x / (2 * k)) * (x / (2 * k));
    return sum;
  }

  std::int64_t step_, phases_, reach_, made_ = 0, taken_ = 0, first_ = 0;
  double cutoff_;
  std::vector<float> held_;  // inputs from sample `first_` on
  std::unordered_map<std::int64_t, std::vector<double>> taps_;
};

inline std::vector<float> resample(const std::vector<float>& samples, int from_hz, int to_hz) {
  if (from_hz == to_hz) return samples;
  Resampler resampler(from_hz, to_hz);
  std::vector<float> out = resampler.push(samples.data(), samples.size());
  const std::vector<float> rest = resampler.finish();
  out.insert(out.end(), rest.begin(), rest.end());
  if (out.empty()) out.push_back(0);
  return out;
}

}  // namespace gmme_edge
