// Runs the test vectors of docs/reference/stream-vectors.json, and streams given on stdin:
//   vectors FILE          says what differs; exit code 1 where something does
//   vectors --stream      one case as JSON on stdin, its events as JSON on stdout
#include <iostream>

#include "gmme_edge/stream.hpp"

namespace {

using Json = nlohmann::json;
using namespace gmme_edge;

std::vector<float> noise_and_tone(std::size_t n) {
  std::vector<float> sound;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < n; ++i) {
    state = 1'664'525 * state + 1'013'904'223;
    double x = 0.01 * (state / 2147483648.0 - 1);
    if (i >= 3 * n / 4) x += 0.2 * std::sin(0.3 * static_cast<double>(i));
    sound.push_back(static_cast<float>(x));
  }
  return sound;
}

Json to_json(const std::vector<Event>& events, std::int64_t rate_hz) {
  Json found = Json::array();
  for (const Event& event : events) found.push_back(Json(event.to_json(rate_hz)));
  return found;
}

// Equal; numbers with a fraction up to their last bits.
bool same(const Json& a, const Json& b) {
  if (a.is_number_float() && b.is_number())
    return std::abs(a.get<double>() - b.get<double>()) < 1e-9;
  if (a.is_structured() && a.type() == b.type() && a.size() == b.size()) {
    if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), same);
    for (const auto& [key, value] : a.items())
      if (!b.contains(key) || !same(value, b[key])) return false;
    return true;
  }
  return a == b;
}

std::vector<Event> run_events(const Json& one, const WindowGrid& grid) {
  const std::int64_t total = one.at("total_samples"), whole = grid.whole_windows(total);
  EventTracker tracker(one.at("labels"), grid, parse_rules(one.at("rules")));
  std::vector<Event> events;
  const auto add = [&](const std::vector<Event>& more) {
    events.insert(events.end(), more.begin(), more.end());
  };
  std::int64_t window = 0;
  for (const Json& row : one.at("probabilities")) {
    const Span cell = grid.cell(window);
    const Row values = row.is_null() ? Row() : Row(row.get<std::vector<double>>());
    const std::int64_t start = window < whole ? grid.start(window) : grid.tail(total).value_or(-1);
    if (start != one.at("window_starts").at(static_cast<std::size_t>(window)))
      throw Error("a window begins elsewhere");
    add(tracker.hear({cell.start, window < whole ? cell.end : total}, values, window));
    ++window;
  }
  add(tracker.finish(total));
  return events;
}

int check(const std::string& path) {
  const Bytes text = read_file(path);
  const Json vectors = Json::parse(text.begin(), text.end());
  int passed = 0, failed = 0;
  const auto tell = [&](bool good, const std::string& name) {
    ++(good ? passed : failed);
    if (!good) std::cout << "differs: " << name << '\n';
  };
  for (const Json& one : vectors.at("events")) {
    const WindowGrid grid(one.at("sample_rate_hz"), one.at("window_samples"), one.at("hop_us"));
    tell(same(to_json(run_events(one, grid), grid.rate_hz), one.at("events")), one.at("name"));
  }
  const Json& one = vectors.at("gate");
  ActivityGate gate(GateRules{}, one.at("sample_rate_hz"));
  const std::vector<float> sound = noise_and_tone(one.at("samples"));
  const std::size_t size = gate.frame_samples();
  bool good = size == one.at("frame_samples");
  std::size_t index = 0;
  for (const Json& expected : one.at("frames")) {
    const float* from = sound.data() + size * index;
    const auto found = gate.measure(std::vector<double>(from, from + size));
    gate.hear(from, size);
    good = good && std::abs(found.excess_db - expected[0].get<double>()) < 2e-3 &&
           std::abs(found.from_flat_db - expected[1].get<double>()) < 2e-3 &&
           gate.is_open(static_cast<std::int64_t>(size * index)) == expected[2].get<bool>();
    ++index;
  }
  tell(good, "gate");
  std::cout << passed << " passed, " << failed << " failed\n";
  return failed ? 1 : 0;
}

// A network that hears every sample: the mean and the extremes of a window.
std::vector<double> level(const std::vector<float>& window) {
  double mean = 0, top = -1e9, bottom = 1e9;
  for (const float x : window) {
    mean += std::abs(double{x}) / static_cast<double>(window.size());
    top = std::max(top, double{x}), bottom = std::min(bottom, double{x});
  }
  const auto clip = [](double p) { return std::clamp(p, 0.0, 1.0); };
  return {clip(2 * mean), clip(top), clip(-bottom)};
}

int stream_one() {
  const Json one = Json::parse(std::cin);
  const WindowGrid grid(one.at("sample_rate_hz"), one.at("window_samples"), one.at("hop_us"));
  Stream stream({"mean", "top", "bottom"}, grid, one.at("input_hz"), level,
                parse_rules(one.at("rules")),
                one.at("gate").get<bool>() ? std::optional(GateRules{}) : std::nullopt);
  std::vector<Event> events;
  const auto add = [&](const std::vector<Event>& more) {
    events.insert(events.end(), more.begin(), more.end());
  };
  for (const Json& step : one.at("steps")) {
    if (step.is_number()) {
      add(stream.skip(step));
    } else {
      const auto chunk = step.get<std::vector<double>>();
      const std::size_t channels = one.at("channels");
      add(stream.push(chunk.data(), chunk.size() / channels, channels));
    }
  }
  add(stream.flush());
  std::cout << Json{{"events", to_json(events, grid.rate_hz)},
                    {"windows", stream.windows()},
                    {"computed", stream.computed()}};
  return 0;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count != 2) throw Error("give the vectors' file, or --stream");
    return std::string(words[1]) == "--stream" ? stream_one() : check(words[1]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
}
