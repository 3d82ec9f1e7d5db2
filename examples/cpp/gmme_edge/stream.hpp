// A classifier that listens: chunks in, events out (docs/reference/streaming.md).
#pragma once

#include <functional>

#include "events.hpp"
#include "gate.hpp"
#include "resampler.hpp"
#include "wav.hpp"

namespace gmme_edge {

// One source, one thread. Any way of cutting the sound into chunks gives the same events.
class Stream {
 public:
  // `classify` gives the probabilities of one window at the network's rate.
  using Classify = std::function<std::vector<double>(const std::vector<float>&)>;

  Stream(const std::vector<std::string>& labels, const WindowGrid& grid, int input_hz,
         Classify classify, const EventRules& rules = {},
         const std::optional<GateRules>& gate = GateRules{})
      : grid_(grid), input_hz_(input_hz), classify_(std::move(classify)),
        resampler_(input_hz, static_cast<int>(grid.rate_hz)), tracker_(labels, grid, rules) {
    if (gate) gate_.emplace(*gate, grid.rate_hz);
  }

  std::int64_t windows() const { return windows_; }    // that have passed
  std::int64_t computed() const { return computed_; }  // of those
  std::int64_t rate_hz() const { return grid_.rate_hz; }
  const Row& latest() const { return latest_; }

  // Interleaved samples at full scale 1; the events that end with them.
  std::vector<Event> push(const double* samples, std::size_t frames, std::size_t channels = 1) {
    for (std::size_t i = 0; i < frames * channels; ++i)
      if (!(std::abs(samples[i]) <= 1e30)) throw Error("A chunk has NaN, infinite or huge samples.");
    const std::vector<float> mono = mean_of_channels(samples, frames, channels);
    input_ += static_cast<std::int64_t>(frames);
    std::vector<Event> ended;
    hear(resampler_.push(mono.data(), mono.size()), ended);
    return ended;
  }

  // The sound ends here. What is pushed afterwards begins a new segment.
  std::vector<Event> flush() {
    std::vector<Event> ended;
    hear(resampler_.finish(), ended);
    if (const auto tail = grid_.tail(heard_)) {
      const std::int64_t whole = grid_.whole_windows(heard_);
      window(*tail, {grid_.cell(whole).start, heard_}, ended);
    }
    append(ended, tracker_.finish(base_ + heard_));
    start_segment();
    return ended;
  }

  // `lost` samples of the source never came: open events end, the time goes on.
  std::vector<Event> skip(std::int64_t lost) {
    if (lost < 1) throw Error("A gap has at least one sample.");
    std::vector<Event> ended = flush();
    input_ += lost;
    start_segment();
    return ended;
  }

 private:
  static void append(std::vector<Event>& to, const std::vector<Event>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  void start_segment() {
    base_ = std::max(input_ * grid_.rate_hz / input_hz_, base_ + heard_);
    heard_ = index_ = 0;
    last_.clear();
    if (gate_) gate_->start_segment();
  }

  void hear(const std::vector<float>& samples, std::vector<Event>& ended) {
    const auto size = static_cast<std::size_t>(grid_.window);
    for (std::size_t at = 0; at < samples.size();) {
      const auto missing = static_cast<std::size_t>(grid_.end(index_) - heard_);
      const std::size_t count = std::min(missing, samples.size() - at);
      const float* from = samples.data() + at;
      last_.insert(last_.end(), from, from + count);
      if (last_.size() > 4 * size)
        last_.erase(last_.begin(), last_.end() - static_cast<std::ptrdiff_t>(size));
      if (gate_) gate_->hear(from, count);
      at += count, heard_ += static_cast<std::int64_t>(count);
      if (count < missing) break;
      window(grid_.start(index_), grid_.cell(index_), ended);
      ++index_;
    }
  }

  void window(std::int64_t start, Span cell, std::vector<Event>& ended) {
    latest_.reset();
    if (!gate_ || gate_->is_open(start)) {
      const auto size = static_cast<std::size_t>(grid_.window);
      const std::size_t known = std::min(size, last_.size());
      std::vector<float> samples(last_.end() - static_cast<std::ptrdiff_t>(known), last_.end());
      samples.resize(size);
      latest_ = classify_(samples);
      ++computed_;
    }
    append(ended, tracker_.hear({base_ + cell.start, base_ + cell.end}, latest_, windows_++));
  }

  WindowGrid grid_;
  int input_hz_;
  Classify classify_;
  Resampler resampler_;
  EventTracker tracker_;
  std::optional<ActivityGate> gate_;
  std::vector<float> last_;
  Row latest_;
  std::int64_t input_ = 0, base_ = 0, heard_ = 0, index_ = 0, windows_ = 0, computed_ = 0;
};

}  // namespace gmme_edge
