// How an array (N, C, L) of N images with C channels of L positions is cut up when something is
// summed for every channel; a matrix (N, C) has L = 1.
#pragma once

#include "common/host_device.h"
#include "cuda/divisor.h"
#include "cuda/launch_geometry.h"

namespace minivae {

// A channel's elements are counted through the images: number j is position j % L of image j / L.
struct Channels {
  Index N, C, L;
  Divisor by_L;

  Channels(Index images, Index channels, Index length)
      : N(images), C(channels), L(length), by_L(length > 0 ? length : 1) {}
  Index count() const { return N * L; }
};

MV_HD Index element_of(const Channels& a, Index channel, Index j) {
  const QuotientRest at = divide(j, a.by_L);
  return (at.quotient * a.C + channel) * a.L + at.rest;
}

// The cut. Channels of a matrix are neighbours in memory, so a block takes kWarp of them side by
// side; else a block takes one. Several blocks share the elements of a channel, in pieces whose
// size depends on the shape alone, so sums have the same bits on every GPU.
struct ChannelCut {
  Index across, groups;  // channels of a block, and how many such groups there are
  Index piece, pieces;   // elements of a channel that a block takes, and how many times
  Grid grid() const { return checked_grid(groups * pieces, kThreads); }
};

inline ChannelCut cut_channels(const Channels& a) {
  constexpr Index kBlocks = 1024;  // enough to occupy the largest GPU
  constexpr Index kLeast = 16;     // the fewest elements of a thread
  ChannelCut cut;
  cut.across = a.L == 1 ? kWarp : 1;
  cut.groups = ceil_div(a.C, cut.across);
  const Index least = kLeast * (kThreads / cut.across);
  const Index even = ceil_div(a.count() * cut.groups, kBlocks);
  cut.piece = ceil_div(even > least ? even : least, 4) * 4;         // whole vectors
  cut.pieces = a.count() > 0 ? ceil_div(a.count(), cut.piece) : 1;  // an empty sum is 0, and is stored
  return cut;
}

// Doubles that `sums` sums a channel need on their way from the blocks of one kernel to the next: none
// for a single sum that one block makes.
inline Index channel_scratch(const Channels& a, int sums) {
  const Index pieces = cut_channels(a).pieces;
  return pieces == 1 && sums == 1 ? 0 : pieces * a.C * sums;
}

}  // namespace minivae
