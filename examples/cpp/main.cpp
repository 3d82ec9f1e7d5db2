// gmme-edge-app classify BUNDLE FILE.wav…    labels, as JSON lines
// gmme-edge-app listen BUNDLE --rate HZ      16-bit PCM on stdin to events, as JSON lines
// gmme-edge-app verify BUNDLE                the golden vectors alone
// gmme-edge-app time BUNDLE                  one run for each line on stdin, in milliseconds
// Options: --precision P, --threads N, --engine FILE (TensorRT, where it is built in); for listen: --channels N, --hop-ms MS, --rules FILE, --no-gate
#include <chrono>
#include <iostream>

#include "gmme_edge.hpp"
#ifdef GMME_EDGE_TENSORRT
#include "gmme_edge/tensorrt.hpp"
#endif

namespace {

using gmme_edge::Error;
using Json = nlohmann::ordered_json;

struct Options {
  std::string command, bundle, precision = "fp32", rules, engine;
  std::vector<std::string> files;
  int threads = 1, rate_hz = 0, channels = 1;
  double hop_ms = 0;
  bool gate = true;
};

double number(const std::string& name, const std::string& text, double least, double most) {
  try {
    std::size_t used = 0;
    const double value = std::stod(text, &used);
    if (used == text.size() && value >= least && value <= most) return value;
  } catch (const std::logic_error&) {
  }
  throw Error(name + " is '" + text + "'.");
}

Options parse(const std::vector<std::string>& words) {
  if (words.size() < 2) throw Error("Usage: gmme-edge-app classify|listen|verify|time BUNDLE …");
  Options options;
  options.command = words[0], options.bundle = words[1];
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--no-gate") {
      options.gate = false;
    } else if (word.rfind("--", 0) != 0) {
      options.files.push_back(word);
    } else {
      if (++i == words.size()) throw Error(word + " needs a value.");
      const std::string& value = words[i];
      if (word == "--precision") options.precision = value;
      else if (word == "--rules") options.rules = value;
      else if (word == "--engine") options.engine = value;
      else if (word == "--threads") options.threads = static_cast<int>(number(word, value, 1, 256));
      else if (word == "--rate") options.rate_hz = static_cast<int>(number(word, value, 100, 1e7));
      else if (word == "--channels") options.channels = static_cast<int>(number(word, value, 1, 64));
      else if (word == "--hop-ms") options.hop_ms = number(word, value, 0.001, 1e6);
      else throw Error("Unknown option " + word + ".");
    }
  }
  return options;
}

gmme_edge::Sound read_sound(const std::string& file) {
  const gmme_edge::Bytes content = gmme_edge::read_file(file);
  try {
    return gmme_edge::read_wav(content);
  } catch (const Error& error) {
    throw Error(file + ": " + error.what());  // of several files, which one
  }
}

void classify(gmme_edge::Classifier& classifier, const Options& options) {
  if (options.files.empty()) throw Error("classify needs a WAV file.");
  for (const std::string& file : options.files) {
    const gmme_edge::Sound sound = read_sound(file);
    Json line = {{"file", file}, {"predictions", Json::array()}};
    for (const auto& each : classifier.classify(gmme_edge::to_mono(sound), sound.rate_hz))
      line["predictions"].push_back({{"label", each.label}, {"probability", each.probability}});
    std::cout << line.dump() << std::endl;
  }
}

void listen(gmme_edge::Classifier& classifier, const Options& options) {
  if (options.rate_hz == 0) throw Error("listen needs --rate.");
  gmme_edge::EventRules rules;
  if (!options.rules.empty()) {
    const auto text = gmme_edge::read_file(options.rules);
    const auto values = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
    if (values.is_discarded()) throw Error(options.rules + " is no JSON.");
    rules = gmme_edge::parse_rules(values);
  }
  const gmme_edge::WindowGrid grid(classifier.sample_rate_hz(),
                                   static_cast<std::int64_t>(classifier.window_samples()),
                                   std::llround(options.hop_ms * 1000));
  gmme_edge::Stream stream(
      classifier.labels(), grid, options.rate_hz,
      [&](const std::vector<float>& window) { return classifier.probabilities(window); }, rules,
      options.gate ? std::optional(gmme_edge::GateRules{}) : std::nullopt);
  const auto tell = [&](const std::vector<gmme_edge::Event>& events) {
    for (const auto& event : events) std::cout << event.to_json(stream.rate_hz()).dump() << std::endl;
  };
  const auto channels = static_cast<std::size_t>(options.channels);
  std::vector<char> bytes(1024 * 2 * channels);
  std::vector<double> samples(1024 * channels);
  while (std::cin.read(bytes.data(), static_cast<std::streamsize>(bytes.size())) || std::cin.gcount()) {
    const std::size_t count = static_cast<std::size_t>(std::cin.gcount()) / 2;
    for (std::size_t i = 0; i < count; ++i) {
      const auto low = static_cast<unsigned char>(bytes[2 * i]),
                 high = static_cast<unsigned char>(bytes[2 * i + 1]);
      samples[i] = static_cast<std::int16_t>(low | high << 8) / 32768.0;
    }
    tell(stream.push(samples.data(), count / channels, channels));
  }
  tell(stream.flush());
}

void time_runs(gmme_edge::Classifier& classifier) {
  std::vector<float> window(classifier.window_samples());
  for (std::size_t i = 0; i < window.size(); ++i)
    window[i] = static_cast<float>(std::sin(0.3 * static_cast<double>(i)));
  for (std::string line; std::getline(std::cin, line);) {
    const auto start = std::chrono::steady_clock::now();
    classifier.logits(window);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::cout << took.count() << std::endl;
  }
}

gmme_edge::Classifier open(const Options& options) {
  if (!options.engine.empty()) {
#ifdef GMME_EDGE_TENSORRT
    return {gmme_edge::Bundle(options.bundle), options.precision, [&](const auto& bundle) {
              return std::make_unique<gmme_edge::TensorRt>(bundle, gmme_edge::read_file(options.engine));
            }};
#else
    throw Error("--engine: this program was built without TensorRT (-DGMME_EDGE_TENSORRT=ON).");
#endif
  }
#ifdef GMME_EDGE_ONNXRUNTIME
  return gmme_edge::Classifier(options.bundle, options.precision, options.threads);
#else
  throw Error("This program was built without ONNX Runtime: name an --engine.");
#endif
}

void run(const Options& options) {
  gmme_edge::Classifier classifier = open(options);
  if (options.command == "classify") {
    classify(classifier, options);
  } else if (options.command == "listen") {
    listen(classifier, options);
  } else if (options.command == "time") {
    time_runs(classifier);
  } else if (options.command == "verify") {
    const auto& errors = classifier.golden_errors();
    Json line = {{"precision", options.precision}, {"relative_error", errors.torch}};
    if (errors.repeat) line["repeat_error"] = *errors.repeat;
    std::cout << line.dump() << std::endl;
  } else {
    throw Error("Unknown command " + options.command + ".");
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    run(parse({words + 1, words + count}));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
}
