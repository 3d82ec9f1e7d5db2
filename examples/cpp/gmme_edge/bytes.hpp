// Errors, and bytes from files that nobody vouches for.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace gmme_edge {

// Whatever a user can mend: a damaged bundle, a bad recording, a wrong option.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Bytes = std::vector<std::uint8_t>;

// A stretch of bytes; every read is checked against its end.
class View {
 public:
  View(const std::uint8_t* data, std::size_t size, std::string name)
      : data_(data), size_(size), name_(std::move(name)) {}
  View(const Bytes& bytes, std::string name) : View(bytes.data(), bytes.size(), std::move(name)) {}

  std::size_t size() const { return size_; }
  const std::uint8_t* data() const { return data_; }

  View part(std::uint64_t start, std::uint64_t length) const {
    if (start > size_ || length > size_ - start) throw Error(name_ + " ends too early.");
    return {data_ + start, static_cast<std::size_t>(length), name_};
  }

  std::string text(std::uint64_t start, std::uint64_t length) const {
    const View found = part(start, length);
    return {found.data_, found.data_ + found.size_};
  }

  // A little-endian number of `width` bytes.
  std::uint64_t number(std::uint64_t start, unsigned width) const {
    const View found = part(start, width);
    std::uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= std::uint64_t{found.data_[i]} << (8 * i);
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::string name_;
};

inline float float_at(const std::uint8_t* from) {
  const std::uint32_t bits = std::uint32_t{from[0]} | std::uint32_t{from[1]} << 8 |
                             std::uint32_t{from[2]} << 16 | std::uint32_t{from[3]} << 24;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline double double_at(const std::uint8_t* from) {
  std::uint64_t bits = 0;
  for (unsigned i = 0; i < 8; ++i) bits |= std::uint64_t{from[i]} << (8 * i);
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline Bytes read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw Error("Cannot read " + path + ".");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace gmme_edge
