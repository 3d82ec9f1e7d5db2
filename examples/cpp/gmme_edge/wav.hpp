// WAV files, and channels to one.
#pragma once

#include <algorithm>
#include <cmath>

#include "bytes.hpp"

namespace gmme_edge {

struct Sound {
  int rate_hz = 0;
  std::size_t channels = 1;
  std::vector<double> samples;  // interleaved, full scale 1
};

namespace detail {

struct Format {
  std::uint64_t tag = 0, channels = 0, rate_hz = 0, bits = 0;
};

inline Format parse_format(const View& chunk) {
  Format format{chunk.number(0, 2), chunk.number(2, 2), chunk.number(4, 4), chunk.number(14, 2)};
  if (format.tag == 0xfffe) format.tag = chunk.number(24, 2);  // extensible: the GUID begins so
  const bool pcm = format.tag == 1 && (format.bits == 8 || format.bits == 16 ||
                                       format.bits == 24 || format.bits == 32);
  const bool real = format.tag == 3 && (format.bits == 32 || format.bits == 64);
  if (!pcm && !real) throw Error("The WAV file is neither PCM nor floating point.");
  if (format.channels < 1 || format.channels > 64) throw Error("The WAV file has no usable channels.");
  if (format.rate_hz < 100 || format.rate_hz > 10'000'000)
    throw Error("The WAV file's sample rate is not from 100 Hz to 10 MHz.");
  return format;
}

inline double sample_at(const std::uint8_t* from, const Format& format) {
  if (format.tag == 3) return format.bits == 32 ? double{float_at(from)} : double_at(from);
  if (format.bits == 8) return (int{from[0]} - 128) / 128.0;
  std::int64_t value = 0;
  const unsigned bytes = static_cast<unsigned>(format.bits / 8);
  for (unsigned i = 0; i < bytes; ++i) value |= std::int64_t{from[i]} << (8 * i);
  if (from[bytes - 1] & 0x80) value -= std::int64_t{1} << format.bits;
  return static_cast<double>(value) / static_cast<double>(std::int64_t{1} << (format.bits - 1));
}

}  // namespace detail

inline Sound read_wav(const Bytes& bytes) {
  const View file(bytes, "The WAV file");
  if (file.size() < 12 || file.text(0, 4) != "RIFF" || file.text(8, 4) != "WAVE")
    throw Error("The file is no WAV file.");
  detail::Format format;
  for (std::uint64_t at = 12; at + 8 <= file.size();) {
    const std::string kind = file.text(at, 4);
    std::uint64_t length = file.number(at + 4, 4);
    if (kind == "data") {
      if (format.tag == 0) throw Error("The WAV file has no format before its samples.");
      length = std::min<std::uint64_t>(length, file.size() - at - 8);  // writers that were cut off
      Sound sound{static_cast<int>(format.rate_hz), static_cast<std::size_t>(format.channels), {}};
      const std::size_t width = static_cast<std::size_t>(format.bits / 8);
      const std::size_t frames = static_cast<std::size_t>(length) / (width * sound.channels);
      if (frames == 0) throw Error("The WAV file holds no samples.");
      const std::uint8_t* from = file.data() + at + 8;
      sound.samples.resize(frames * sound.channels);
      for (std::size_t i = 0; i < sound.samples.size(); ++i) {
        sound.samples[i] = detail::sample_at(from + i * width, format);
        if (!std::isfinite(sound.samples[i])) throw Error("The WAV file has NaN or infinite samples.");
      }
      return sound;
    }
    if (kind == "fmt ") format = detail::parse_format(file.part(at + 8, length));
    at += 8 + length + length % 2;
  }
  throw Error("The WAV file holds no samples.");
}

inline std::vector<float> mean_of_channels(const double* samples, std::size_t frames,
                                           std::size_t channels) {
  std::vector<float> mono(frames);
  for (std::size_t i = 0; i < frames; ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < channels; ++c) sum += samples[i * channels + c];
    mono[i] = static_cast<float>(sum / static_cast<double>(channels));
  }
  return mono;
}

// The mean of the channels; where they cancel each other (antiphase), the loudest one.
inline std::vector<float> to_mono(const Sound& sound) {
  const std::size_t n = sound.channels, frames = sound.samples.size() / n;
  std::vector<float> mono = mean_of_channels(sound.samples.data(), frames, n);
  if (n == 1) return mono;
  std::vector<double> powers(n);
  double mean_power = 0, all = 0;
  for (std::size_t i = 0; i < sound.samples.size(); ++i)
    powers[i % n] += sound.samples[i] * sound.samples[i];
  for (const float value : mono) mean_power += double{value} * double{value};
  for (const double power : powers) all += power / static_cast<double>(n);
  if (mean_power >= 0.01 * all) return mono;
  const auto loudest =
      static_cast<std::size_t>(std::max_element(powers.begin(), powers.end()) - powers.begin());
  for (std::size_t i = 0; i < frames; ++i)
    mono[i] = static_cast<float>(sound.samples[i * n + loudest]);
  return mono;
}

}  // namespace gmme_edge
