// golden.npz: a ZIP file of NumPy arrays, float32, little-endian.
#pragma once

#include <map>

#include "bytes.hpp"
#ifdef GMME_EDGE_ZLIB
#include <zlib.h>
#endif

namespace gmme_edge {

struct Array {
  std::vector<std::size_t> shape;
  std::vector<float> values;
};

namespace detail {

constexpr std::uint64_t kLargest = std::uint64_t{1} << 30;  // no golden vectors are larger

inline Bytes inflate_entry(const View& packed, std::uint64_t size) {
#ifdef GMME_EDGE_ZLIB
  Bytes out(static_cast<std::size_t>(size));
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error("zlib does not start.");
  stream.next_in = const_cast<std::uint8_t*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_FINISH);
  const bool whole = result == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!whole) throw Error("golden.npz is damaged.");
  return out;
#else
  (void)packed, (void)size;
  throw Error(
      "golden.npz is compressed, as older versions wrote it; export the bundle again, or build "
      "with zlib.");
#endif
}

// Numbers between brackets after `'shape':` of a .npy header.
inline std::vector<std::size_t> shape_of(const std::string& header) {
  const std::size_t key = header.find("'shape':");
  const std::size_t open = key == std::string::npos ? key : header.find('(', key);
  const std::size_t close = open == std::string::npos ? open : header.find(')', open);
  if (close == std::string::npos) throw Error("A golden array has no shape.");
  std::vector<std::size_t> shape;
  std::size_t number = 0;
  bool inside = false;
  for (std::size_t i = open + 1; i <= close; ++i) {
    const char c = header[i];
    if (c >= '0' && c <= '9') {
      number = number * 10 + static_cast<std::size_t>(c - '0');
      inside = true;
      if (number > kLargest) throw Error("A golden array is too large.");
    } else if (c == ',' || c == ')') {
      if (inside) shape.push_back(number);
      number = 0, inside = false;
    } else if (c != ' ') {
      throw Error("A golden array has a damaged shape.");
    }
  }
  return shape;
}

inline Array parse_npy(const View& file) {
  if (file.text(0, 6) != "\x93NUMPY") throw Error("A golden array is no .npy file.");
  const bool old = file.number(6, 1) == 1;
  const std::uint64_t start = old ? 10 : 12;
  const std::uint64_t length = file.number(8, old ? 2 : 4);
  const std::string header = file.text(start, length);
  if (header.find("'<f4'") == std::string::npos || header.find("True") != std::string::npos)
    throw Error("A golden array is not little-endian float32 in C order.");
  Array found;
  found.shape = shape_of(header);
  std::uint64_t count = 1;
  for (const std::size_t size : found.shape)
    if ((count *= size) > kLargest) throw Error("A golden array is too large.");
  const View data = file.part(start + length, 4 * count);
  found.values.resize(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < found.values.size(); ++i)
    found.values[i] = float_at(data.data() + 4 * i);
  return found;
}

}  // namespace detail

// Arrays by name. Sizes come from the directory at the end, since writers may leave them open in
// front of the data.
inline std::map<std::string, Array> read_npz(const Bytes& bytes) {
  const View file(bytes, "golden.npz");
  if (file.size() < 22) throw Error("golden.npz is no ZIP file.");
  std::uint64_t end = file.size() - 22;
  while (file.number(end, 4) != 0x06054b50)
    if (end-- == 0) throw Error("golden.npz is no ZIP file.");
  const std::uint64_t count = file.number(end + 10, 2);
  std::uint64_t at = file.number(end + 16, 4);
  std::map<std::string, Array> arrays;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (file.number(at, 4) != 0x02014b50) throw Error("golden.npz is damaged.");
    const std::uint64_t method = file.number(at + 10, 2), packed = file.number(at + 20, 4),
                        size = file.number(at + 24, 4), local = file.number(at + 42, 4);
    const std::uint64_t name_length = file.number(at + 28, 2);
    std::string name = file.text(at + 46, name_length);
    at += 46 + name_length + file.number(at + 30, 2) + file.number(at + 32, 2);
    if (size > detail::kLargest) throw Error("golden.npz is too large.");
    const std::uint64_t start = local + 30 + file.number(local + 26, 2) + file.number(local + 28, 2);
    const View data = file.part(start, packed);
    if (name.size() > 4 && name.substr(name.size() - 4) == ".npy") name.resize(name.size() - 4);
    if (method == 0) {
      arrays[name] = detail::parse_npy(data);
    } else if (method == 8) {
      if (size / 1100 > packed) throw Error("golden.npz is damaged.");  // deflate's limit is 1032
      const Bytes unpacked = detail::inflate_entry(data, size);
      arrays[name] = detail::parse_npy(View(unpacked, "golden.npz"));
    } else {
      throw Error("golden.npz is packed in an unknown way.");
    }
  }
  return arrays;
}

}  // namespace gmme_edge
