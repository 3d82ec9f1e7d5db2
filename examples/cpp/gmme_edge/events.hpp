// From the probabilities of windows to events: docs/reference/streaming.md, sections 2 and 4.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "bytes.hpp"

namespace gmme_edge {

using Row = std::optional<std::vector<double>>;  // probabilities; none: not computed

struct Span {
  std::int64_t start, end;
};

// Where windows lie, in whole samples.
struct WindowGrid {
  std::int64_t rate_hz, window, hop_us;

  WindowGrid(std::int64_t rate, std::int64_t samples, std::int64_t hop = 0)
      : rate_hz(rate), window(samples), hop_us(hop) {
    if (rate_hz < 1 || window < 1) throw Error("Windows need a rate and a length.");
    if (hop_us == 0) hop_us = (250'000 * window + rate_hz - 1) / rate_hz;
    if (hop_us < 0 || hop_us * rate_hz < 1'000'000 || hop_us * rate_hz > window * 1'000'000)
      throw Error("A hop is at least one sample and at most one window.");
  }

  std::int64_t start(std::int64_t index) const { return index * hop_us * rate_hz / 1'000'000; }
  std::int64_t end(std::int64_t index) const { return start(index) + window; }

  Span cell(std::int64_t index) const {
    const std::int64_t lead = (window - hop_us * rate_hz / 1'000'000) / 2;
    return {index ? start(index) + lead : 0, start(index + 1) + lead};
  }

  std::int64_t whole_windows(std::int64_t total) const {
    if (total < window) return 0;
    return ((total - window + 1) * 1'000'000 - 1) / (hop_us * rate_hz) + 1;
  }

  // Where the last window begins that hears what whole windows left over.
  std::optional<std::int64_t> tail(std::int64_t total) const {
    const std::int64_t whole = whole_windows(total);
    if ((whole ? end(whole - 1) : 0) == total) return std::nullopt;
    return std::max<std::int64_t>(0, total - window);
  }
};

constexpr double kLongestS = 1e9;  // at any rate it is a whole number of samples in 64 bits

struct Rule {
  double on = 0.5;
  std::optional<double> off;  // 0.7·on
  double min_duration_s = 0, merge_gap_s = 0;
  std::optional<double> max_duration_s;
  double refractory_s = 0, smoothing_s = 0;

  double off_threshold() const { return off.value_or(0.7 * on); }

  void check() const {
    const auto natural = [](double x) { return x >= 0 && x <= kLongestS; };
    if (!(on > 0 && on <= 1) || !(off_threshold() > 0 && off_threshold() <= on))
      throw Error("A rule needs 0 < off <= on <= 1.");
    if (!natural(min_duration_s) || !natural(merge_gap_s) || !natural(refractory_s) ||
        !natural(smoothing_s) ||
        (max_duration_s && !(natural(*max_duration_s) && *max_duration_s > 0 &&
                             *max_duration_s >= min_duration_s)))
      throw Error("A rule's durations are 0 to 1e9 s, and its maximum is above its minimum.");
  }
};

// The rule for all labels, and what differs for some.
struct EventRules : Rule {
  std::map<std::string, Rule> per_label;
  std::vector<std::string> allow, deny;

  const Rule& of(const std::string& label) const {
    const auto own = per_label.find(label);
    return own == per_label.end() ? *this : own->second;
  }

  bool wants(const std::string& label) const {
    const auto in = [&](const auto& list) {
      return std::find(list.begin(), list.end(), label) != list.end();
    };
    return (allow.empty() || in(allow)) && !in(deny);
  }
};

namespace detail {

inline void read_rule(const nlohmann::json& from, Rule& rule) {
  const auto number = [&](const char* name, double otherwise) {
    const auto found = from.find(name);
    return found == from.end() || found->is_null() ? otherwise : found->get<double>();
  };
  rule.on = number("on", rule.on);
  if (from.contains("off") && !from["off"].is_null()) rule.off = from["off"].get<double>();
  rule.min_duration_s = number("min_duration_s", 0);
  rule.merge_gap_s = number("merge_gap_s", 0);
  rule.refractory_s = number("refractory_s", 0);
  rule.smoothing_s = number("smoothing_s", 0);
  if (from.contains("max_duration_s") && !from["max_duration_s"].is_null())
    rule.max_duration_s = from["max_duration_s"].get<double>();
  rule.check();
}

}  // namespace detail

// Rules as `gmme_edge.EventRules.to_dict()` writes them; what is absent keeps its default.
inline EventRules parse_rules(const nlohmann::json& from) {
  try {
    EventRules rules;
    detail::read_rule(from, rules);
    if (from.contains("per_label"))
      for (const auto& [label, rule] : from["per_label"].items())
        detail::read_rule(rule, rules.per_label[label]);
    rules.allow = from.value("allow", rules.allow);
    rules.deny = from.value("deny", rules.deny);
    return rules;
  } catch (const nlohmann::json::exception& error) {
    throw Error(std::string("The rules are damaged: ") + error.what());
  }
}

struct Event {
  std::string label;
  std::int64_t start = 0, end = 0;  // samples
  double peak = 0, total = 0;
  std::int64_t first_window = -1, last_window = -1, windows = 0;

  void count(const Row& row, std::size_t index, std::int64_t window) {
    if (last_window == window) return;
    if (last_window < 0) first_window = window;
    last_window = window;
    if (!row) return;
    peak = std::max(peak, (*row)[index]);
    total += (*row)[index];
    ++windows;
  }

  nlohmann::ordered_json to_json(std::int64_t rate_hz) const {
    const auto seconds = [&](std::int64_t sample) {
      return std::round(1e6 * static_cast<double>(sample) / static_cast<double>(rate_hz)) / 1e6;
    };
    return {{"kind", "event"},         {"label", label},
            {"start_s", seconds(start)}, {"end_s", seconds(end)},
            {"start_sample", start},   {"end_sample", end},
            {"sample_rate_hz", rate_hz}, {"peak", peak},
            {"mean", total / static_cast<double>(windows)},
            {"first_window", first_window}, {"last_window", last_window},
            {"windows", windows}};
  }
};

// One label's way from probabilities to events; all times in samples.
class LabelTrack {
 public:
  LabelTrack(std::string label, std::size_t index, const Rule& rule, std::int64_t rate_hz)
      : label_(std::move(label)), index_(index), on_(rule.on), off_(rule.off_threshold()) {
    const auto samples = [&](double seconds) {
      return static_cast<std::int64_t>(std::floor(seconds * static_cast<double>(rate_hz) + 0.5));
    };
    min_ = samples(rule.min_duration_s), merge_ = samples(rule.merge_gap_s);
    refractory_ = samples(rule.refractory_s);
    if (rule.max_duration_s) max_ = std::max<std::int64_t>(1, samples(*rule.max_duration_s));
  }

  // Add the events that end within `cell`.
  void hear(Span cell, double smooth, const Row& row, std::int64_t window,
            std::vector<Event>& ended) {
    std::int64_t position = cell.start;
    bool barred = false;
    while (position < cell.end && smooth >= (sounding_ ? off_ : on_)) {
      if (open_ && reach(cell.end) <= position) close(ended);  // it cannot grow as far as this
      if (!open_) {
        position = std::max(position, quiet_until_);
        barred = position >= cell.end || !row;
        if (barred) break;
        open_ = Event{label_, position, position};
      }
      open_->end = position = reach(cell.end);
      open_->count(row, index_, window);
      sounding_ = true;
      if (max_ && position == open_->start + *max_) {
        close(ended);
        sounding_ = refractory_ == 0;
      }
    }
    if (!barred && position == cell.end) return;
    sounding_ = false;
    if (open_ && cell.end - open_->end > merge_) close(ended);
  }

  void finish(std::vector<Event>& ended) {
    sounding_ = false;
    if (open_) close(ended);
  }

 private:
  std::int64_t reach(std::int64_t end) const {
    return max_ ? std::min(end, open_->start + *max_) : end;
  }

  void close(std::vector<Event>& ended) {
    const Event one = *open_;
    open_.reset();
    if (one.end - one.start < min_) return;
    quiet_until_ = one.end + refractory_;
    ended.push_back(one);
  }

  std::string label_;
  std::size_t index_;
  double on_, off_;
  std::int64_t min_, merge_, refractory_, quiet_until_ = 0;
  std::optional<std::int64_t> max_;
  std::optional<Event> open_;
  bool sounding_ = false;
};

// The rules at work: give it windows in order, take events.
class EventTracker {
 public:
  EventTracker(const std::vector<std::string>& labels, const WindowGrid& grid,
               const EventRules& rules) {
    const auto known = [&](const std::string& name) {
      if (std::find(labels.begin(), labels.end(), name) == labels.end())
        throw Error("The rules name the label '" + name + "', which the network does not have.");
    };
    for (const auto& [name, rule] : rules.per_label) known(name);
    for (const std::string& name : rules.allow) known(name);
    for (const std::string& name : rules.deny) known(name);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const Rule& rule = rules.of(labels[i]);
      const double hop_s = static_cast<double>(grid.hop_us) / 1e6;
      weights_.push_back(rule.smoothing_s > 0 ? 1 - std::exp(-hop_s / rule.smoothing_s) : 1.0);
      tracks_.emplace_back();
      if (rules.wants(labels[i])) tracks_.back().emplace(labels[i], i, rule, grid.rate_hz);
    }
  }

  // Events that end with this window, which speaks for `cell`.
  std::vector<Event> hear(Span cell, Row row, std::int64_t window) {
    if (row && row->size() != tracks_.size()) throw Error("A window has other labels.");
    const bool first = smooth_.empty();
    smooth_.resize(tracks_.size());
    for (std::size_t i = 0; i < smooth_.size(); ++i) {
      const double raw = row ? (*row)[i] : 0.0;
      smooth_[i] = first ? raw : smooth_[i] + weights_[i] * (raw - smooth_[i]);
    }
    last_ = std::move(row), window_ = window;
    std::vector<Event> ended;
    follow(cell, ended);
    return ended;
  }

  // The sound ends at `end` or is interrupted there.
  std::vector<Event> finish(std::int64_t end) {
    std::vector<Event> ended;
    follow({heard_until_, end}, ended);
    smooth_.clear();
    for (auto& track : tracks_)
      if (track) track->finish(ended);
    return ended;
  }

 private:
  void follow(Span cell, std::vector<Event>& ended) {
    if (smooth_.empty() || cell.start >= cell.end) return;
    for (std::size_t i = 0; i < tracks_.size(); ++i)
      if (tracks_[i]) tracks_[i]->hear(cell, smooth_[i], last_, window_, ended);
    heard_until_ = cell.end;
  }

  std::vector<std::optional<LabelTrack>> tracks_;
  std::vector<double> weights_, smooth_;
  Row last_;
  std::int64_t window_ = -1, heard_until_ = 0;
};

}  // namespace gmme_edge
