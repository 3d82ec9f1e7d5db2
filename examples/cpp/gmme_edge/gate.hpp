// Is there anything to hear? docs/reference/streaming.md, section 3.
#pragma once

#include <array>
#include <cmath>
#include <complex>
#include <deque>
#include <vector>

#include "bytes.hpp"

namespace gmme_edge {

struct GateRules {
  double min_level_dbfs = -60, level_margin_db = 8, flatness_margin_db = 4, floor_rise_s = 12,
         floor_fall_s = 0.5;
};

class ActivityGate {
 public:
  static constexpr std::size_t kBands = 16;
  using Bands = std::array<double, kBands>;
  struct Measure {
    double excess_db, from_flat_db;
    Bands levels_db;
  };

  ActivityGate(const GateRules& rules, std::int64_t rate_hz) : rules_(rules) {
    const std::int64_t least = std::max<std::int64_t>(1, rate_hz / 25);
    while (static_cast<std::int64_t>(size_) < least) size_ *= 2;
    const double n = static_cast<double>(size_), rate = static_cast<double>(rate_hz);
    double squares = 0;
    for (std::size_t i = 0; i < size_; ++i) {
      taper_.push_back(0.5 - 0.5 * std::cos(2 * kPi * static_cast<double>(i) / n));
      squares += taper_[i] * taper_[i];
    }
    scale_ = 2 / (n * squares);
    const auto mel = [](double hz) { return 2595 * std::log10(1 + hz / 700); };
    const double low = mel(60), high = mel(rate / 2);
    for (std::size_t i = 0; i <= kBands; ++i) {
      const double at = low + (high - low) * static_cast<double>(i) / kBands;
      const double hz = 700 * (std::pow(10, at / 2595) - 1);
      edges_[i] = static_cast<std::size_t>(std::nearbyint(hz * n / rate));
      if (i > 0) edges_[i] = std::max(edges_[i], edges_[i - 1] + 1);  // one bin at least
    }
    if (edges_[kBands] > size_ / 2 + 1) throw Error("The sample rate is too low for the gate.");
    const double seconds = n / rate;
    second_ = 1 / seconds;
    rise_ = 1 - std::exp(-seconds / rules.floor_rise_s);
    fall_ = 1 - std::exp(-seconds / rules.floor_fall_s);
    floor_db_.fill(-100);
  }

  std::size_t frame_samples() const { return size_; }

  // What follows does not continue what came before; the noise floor stays.
  void start_segment() {
    frame_.clear(), active_.clear();
    frames_ = 0;
  }

  void hear(const float* samples, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      frame_.push_back(samples[i]);
      if (frame_.size() < size_) continue;
      if (is_active()) active_.push_back(frames_);
      ++frames_;
      frame_.clear();
    }
  }

  // Whether an active frame begins at or after `start`, which must not go back.
  bool is_open(std::int64_t start) {
    while (!active_.empty() && active_.front() * static_cast<std::int64_t>(size_) < start)
      active_.pop_front();
    return frames_ == 0 || !active_.empty();
  }

  Measure measure(const std::vector<double>& frame) const {
    std::vector<std::complex<double>> spectrum(size_);
    for (std::size_t i = 0; i < size_; ++i) spectrum[i] = frame[i] * taper_[i];
    transform(spectrum);
    Measure found{};
    double sum = 0, linear = 0;
    for (std::size_t band = 0; band < kBands; ++band) {
      double power = 0;
      for (std::size_t bin = edges_[band]; bin < edges_[band + 1]; ++bin)
        power += std::norm(spectrum[bin]) * scale_;
      power /= static_cast<double>(edges_[band + 1] - edges_[band]);
      found.levels_db[band] = 10 * std::log10(std::max(power, 1e-10));
      const double above = found.levels_db[band] - floor_db_[band];
      sum += above, linear += std::pow(10, above / 10);
    }
    found.excess_db = 10 * std::log10(linear / kBands);
    found.from_flat_db = found.excess_db - sum / kBands;
    return found;
  }

 private:
  static constexpr double kPi = 3.14159265358979323846;

  bool is_active() {
    const Measure found = measure(frame_);
    const double rise = std::max(rise_, std::min(1.0, 2 / (since_reset_ + second_)));
    ++since_reset_;
    for (std::size_t i = 0; i < kBands; ++i) {
      const double step = found.levels_db[i] - floor_db_[i];
      floor_db_[i] += (step > 0 ? rise : fall_) * step;
    }
    double power = 0;
    for (const double x : frame_) power += x * x;
    return power / static_cast<double>(size_) >= std::pow(10, rules_.min_level_dbfs / 10) &&
           (found.excess_db >= rules_.level_margin_db ||
            found.from_flat_db >= rules_.flatness_margin_db);
  }

  // In-place Fourier transform of a power of two values.
  static void transform(std::vector<std::complex<double>>& x) {
    const std::size_t n = x.size();
    for (std::size_t i = 1, j = 0; i < n; ++i) {
      std::size_t bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) std::swap(x[i], x[j]);
    }
    for (std::size_t half = 1; half < n; half *= 2)
      for (std::size_t k = 0; k < half; ++k) {
        const auto turn = std::polar(1.0, -kPi * static_cast<double>(k) / static_cast<double>(half));
        for (std::size_t i = k; i < n; i += 2 * half) {
          const std::complex<double> odd = x[i + half] * turn;
          x[i + half] = x[i] - odd;
          x[i] += odd;
        }
      }
  }

  GateRules rules_;
  std::size_t size_ = 1;
  std::vector<double> taper_, frame_;
  std::array<std::size_t, kBands + 1> edges_{};
  Bands floor_db_{};
  double scale_, second_, rise_, fall_, since_reset_ = 0;
  std::int64_t frames_ = 0;
  std::deque<std::int64_t> active_;
};

}  // namespace gmme_edge
