// SHA-256 (FIPS 180-4), so that a changed file is noticed.
#pragma once

#include <array>

#include "bytes.hpp"

namespace gmme_edge {

inline std::string sha256(const Bytes& bytes) {
  static constexpr std::array<std::uint32_t, 64> round = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const auto turn = [](std::uint32_t x, unsigned by) { return x >> by | x << (32 - by); };
  const auto take = [&](const std::uint8_t* block) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 16; ++i)
      w[i] = std::uint32_t{block[4 * i]} << 24 | std::uint32_t{block[4 * i + 1]} << 16 |
             std::uint32_t{block[4 * i + 2]} << 8 | std::uint32_t{block[4 * i + 3]};
    for (std::size_t i = 16; i < 64; ++i)
      w[i] = w[i - 16] + w[i - 7] +
             (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
             (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) +
                                ((e & f) ^ (~e & g)) + round[i] + w[i];
      const std::uint32_t two =
          (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += added[i];
  };
  std::size_t at = 0;
  for (; at + 64 <= bytes.size(); at += 64) take(bytes.data() + at);
  Bytes last(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end());
  last.push_back(0x80);
  while (last.size() % 64 != 56) last.push_back(0);
  for (unsigned i = 8; i-- > 0;)
    last.push_back(static_cast<std::uint8_t>(std::uint64_t{bytes.size()} * 8 >> (8 * i)));
  for (at = 0; at < last.size(); at += 64) take(last.data() + at);
  std::string hex;
  for (const std::uint32_t word : state)
    for (unsigned i = 8; i-- > 0;) hex += "0123456789abcdef"[word >> (4 * i) & 15];
  return hex;
}

}  // namespace gmme_edge
