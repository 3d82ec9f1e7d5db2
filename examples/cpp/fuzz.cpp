// What reads bytes from outside, under libFuzzer: it may refuse them, and do nothing else.
#include "gmme_edge/bundle.hpp"
#include "gmme_edge/events.hpp"
#include "gmme_edge/wav.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const gmme_edge::Bytes bytes(data + 1, data + size);
  try {
    if (data[0] % 4 == 0) gmme_edge::to_mono(gmme_edge::read_wav(bytes));
    if (data[0] % 4 == 1) gmme_edge::parse_manifest({bytes.begin(), bytes.end()});
    if (data[0] % 4 == 2) gmme_edge::read_npz(bytes);
    if (data[0] % 4 == 3) {
      const auto rules = nlohmann::json::parse(bytes, nullptr, false);
      gmme_edge::EventTracker({"a", "b"}, {16'000, 4'000}, gmme_edge::parse_rules(rules));
    }
  } catch (const gmme_edge::Error&) {
  }
  return 0;
}
