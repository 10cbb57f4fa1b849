// Sums for every channel of (N, C, L), several at once, for bias gradients and batch normalisation.
//
// A first kernel gives every block some elements of a channel (channels.h) and leaves one double per
// block and sum; a second one adds those, unless one block had the whole channel. A Terms visits
// elements, may write what it makes of them, and adds to the sums:
//
//   struct Terms {
//     static constexpr int kSums;    // how many
//     static constexpr int kWidth;   // neighbours it takes at once: L is a multiple of it
//     __device__ void operator()(Index element, Index channel, double* sum) const;
//   };
#pragma once

#include "cuda/channels.h"
#include "cuda/launch.h"
#include "cuda/reduce.cuh"

namespace minivae {

// `out` is (kSums, pieces, C). Threads are laid out (elements, channels): with 32 channels side by side
// a warp reads 32 neighbours of a row, with one it reads 32 neighbours of an image.
template <class Terms, class Out>
__device__ __forceinline__ void sum_piece(const Terms& terms, const Channels& a, const ChannelCut& cut,
                                          Out* out) {
  MV_SHARED(double, sums, [Terms::kSums][kThreads]);
  const int thread = static_cast<int>(threadIdx.x), across = static_cast<int>(cut.across);
  const Index group = blockIdx.x % cut.groups, piece = blockIdx.x / cut.groups;
  const Index channel = group * across + thread % across;
  const Index last = min_index((piece + 1) * cut.piece, a.N * a.L);

  double sum[Terms::kSums] = {};
  if (channel < a.C) {
    const Index step = Index(kThreads / across) * Terms::kWidth;
    for (Index j = piece * cut.piece + Index(thread / across) * Terms::kWidth; j < last; j += step) {
      terms(element_of(a, channel, j), channel, sum);
    }
  }
#pragma unroll
  for (int s = 0; s < Terms::kSums; ++s) sums[s][thread] = sum[s];
  // Halve the number of threads until one per channel is left; partners have the same channel.
  for (int half = kThreads / 2; half >= across; half /= 2) {
    __syncthreads();
    if (thread < half) {
#pragma unroll
      for (int s = 0; s < Terms::kSums; ++s) sums[s][thread] += sums[s][thread + half];
    }
  }
  if (thread < across && channel < a.C) {
#pragma unroll
    for (int s = 0; s < Terms::kSums; ++s) {
      out[(s * cut.pieces + piece) * a.C + channel] = static_cast<Out>(sums[s][thread]);
    }
  }
}

template <class Terms>
__global__ void sum_pieces(Terms terms, Channels a, ChannelCut cut, double* partial) {
  sum_piece(terms, a, cut, partial);
}

// One piece is the whole sum, and needs no second kernel.
template <class Terms, class T>
__global__ void sum_whole(Terms terms, Channels a, ChannelCut cut, T* sums) {
  sum_piece(terms, a, cut, sums);
}

// Sum number s of a channel from its pieces: in every lane of the warp that asks.
__device__ __forceinline__ double sum_of_pieces(const double* partial, int s, Index pieces, Index C,
                                                Index channel) {
  double sum = 0;
  for (Index i = threadIdx.x % kWarp; i < pieces; i += kWarp) sum += partial[(s * pieces + i) * C + channel];
  return lane_sum(sum);
}

// What follows: a warp per channel.
inline Grid warp_per_channel(Index channels) {
  return lanes_per_row(channels, kWarp);
}

template <class T>
__global__ void store_sums(const double* partial, T* sums, Index pieces, Index C) {
  const Index channel = (Index(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
  if (channel >= C) return;  // the whole warp
  const double sum = sum_of_pieces(partial, 0, pieces, C, channel);
  if (threadIdx.x % kWarp == 0) sums[channel] = static_cast<T>(sum);
}

template <class Terms, class T>
void sum_channels(const Terms& terms, const Channels& a, T* sums, double* scratch, Stream stream) {
  static_assert(Terms::kSums == 1, "one sum a channel");
  const ChannelCut cut = cut_channels(a);
  if (cut.pieces == 1) {
    launch(sum_whole<Terms, T>, cut.grid(), stream, terms, a, cut, sums);
    return;
  }
  launch(sum_pieces<Terms>, cut.grid(), stream, terms, a, cut, scratch);
  launch(store_sums<T>, warp_per_channel(a.C), stream, scratch, sums, cut.pieces, a.C);
}

}  // namespace minivae
