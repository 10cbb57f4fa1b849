// How work is laid over blocks and threads: host arithmetic and the index formulas that kernels
// share with it, in one place so that a test can hold every layout to "each element exactly once".
//
// A grid is one-dimensional, up to 2^31 - 1 blocks; element numbers are 64-bit.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "common/host_device.h"

namespace minivae {

constexpr int kWarp = 32;      // lanes
constexpr int kThreads = 256;  // of a block, unless a kernel has a reason
constexpr Index kMaxBlocks = 0x7fffffff;

struct Grid {
  Index blocks;
  int threads;
  std::size_t shared_bytes = 0;  // dynamic shared memory
};

inline Grid checked_grid(Index blocks, int threads) {
  if (blocks > kMaxBlocks) {
    throw std::length_error("the array needs " + std::to_string(blocks) + " blocks of threads, more than " +
                            std::to_string(kMaxBlocks));
  }
  return {blocks, threads};
}

// A thread for every `per_thread` elements.
inline Grid over_elements(Index count, int per_thread = 1, int threads = kThreads) {
  return checked_grid(ceil_div(ceil_div(count, per_thread), threads), threads);
}

inline Grid block_per_row(Index rows, int threads = kThreads) {
  return checked_grid(rows, threads);
}

// `lanes` neighbouring threads of a warp for every row, lanes a power of two up to 32.
inline Grid lanes_per_row(Index rows, int lanes, int threads = kThreads) {
  return checked_grid(ceil_div(rows, threads / lanes), threads);
}

// Quads: the four elements 4q .. 4q + 3 of an array, counted from its beginning and not from its
// row's. They are what 128 bits of float32 hold, and what one Philox call makes, so rows whose
// length is no multiple of four begin and end inside a quad that they share with a neighbour.
struct Quads {
  Index first, last;  // of the row, last not included
};

MV_HD Quads quads_of_row(Index row, Index columns) {
  return {row * columns / 4, ceil_div((row + 1) * columns, 4)};
}

// The part of a quad that belongs to the row: elements 4q + begin .. 4q + end - 1.
struct QuadPart {
  int begin, end;
};

MV_HD QuadPart part_in_row(Index quad, Index row, Index columns) {
  const Index before = row * columns - 4 * quad, after = (row + 1) * columns - 4 * quad;
  return {static_cast<int>(before > 0 ? before : 0), static_cast<int>(min_index(after, 4))};
}

// The most quads that a row of the array touches: rows begin at multiples of gcd(columns, 4), at
// worst so many before the end of a quad.
inline Index quads_touched(Index columns) {
  const Index step = columns % 4 == 0 ? 4 : columns % 2 == 0 ? 2 : 1;
  return columns > 0 ? ceil_div(4 - step + columns, 4) : 0;
}

// The fewest lanes, a power of two, that take a row's quads in one pass; at most a warp.
inline int lanes_for_quads(Index columns) {
  int lanes = 1;
  while (lanes < kWarp && lanes < quads_touched(columns)) lanes *= 2;
  return lanes;
}

// The exponent of a power of two: a kernel shifts where it would divide.
inline int exponent_of(int power_of_two) {
  int exponent = 0;
  while (1 << exponent < power_of_two) ++exponent;
  return exponent;
}

}  // namespace minivae
