// A batch out of a uint8 data set that stays on the GPU: chosen, scaled, and drawn anew if asked for.
//
// Idea: a pixel crosses the bus once, at the start of training. A thread makes a quad of the batch:
// the four words of one Philox call are its four draws, and the noise is never stored. Bytes per
// element in float32: 5 (1 read, 4 written) instead of 13 for copying, scaling and comparing in turn.
// Limit: memory for grey images, the ten rounds of Philox for drawn ones; at batch 128, the launch.
#include "cuda/pixels.h"

#include "cuda/divisor.h"
#include "cuda/launch.h"
#include "cuda/noise.cuh"
#include "cuda/quad.cuh"
#include "math/elementary.h"
#include "math/pixels.h"

namespace minivae {
namespace {

// Where in `images` a row of the batch begins, or -1.
__device__ __forceinline__ Index image_of(const std::int64_t* index, Index place, Index places, Index N,
                                          Index size) {
  if (place < 0 || place >= places) return -1;
  const std::int64_t image = index[place];
  return image >= 0 && image < N ? image * size : -1;
}

template <bool kAligned, bool kDraw, class T>
__global__ void gather(const std::uint8_t* images, Index N, const std::int64_t* index, Index places,
                       Noise noise, Count batch, T* out, Index rows, Divisor by_size) {
  const Index q = Index(blockIdx.x) * blockDim.x + threadIdx.x, size = by_size.d;
  const QuadPart part = part_in_row(q, 0, rows * size);
  if (part.end <= part.begin) return;
  Quad<std::uint32_t> words{};
  if constexpr (kDraw) words = word_quad(key_of(noise), q);

  const QuotientRest at = divide(4 * q, by_size);
  Index place = value_of(batch) * rows + at.quotient, column = at.rest;
  Index image = image_of(index, place, places, N, size);
  Quad<T> pixels{};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j >= part.end) break;
    if (column == size) {
      column = 0;
      image = image_of(index, ++place, places, N, size);
    }
    if (image < 0) {
      pixels.x[j] = kNaN<T>;
    } else {
      const std::uint8_t p = images[image + column];
      pixels.x[j] = kDraw ? pixel_draw<T>(p, words.x[j]) : pixel_value<T>(p);
    }
    ++column;
  }
  store_quad<kAligned>(out, q, part, pixels);
}

}  // namespace

template <class T>
void gather_pixels(const std::uint8_t* images, Index N, const std::int64_t* index, Index places, bool draw,
                   Noise noise, const Count& batch, T* out, Index rows, Index size, Stream stream) {
  if (rows * size == 0) return;
  const auto kernel = quads_are_aligned(out) ? (draw ? gather<true, true, T> : gather<true, false, T>)
                                             : (draw ? gather<false, true, T> : gather<false, false, T>);
  launch(kernel, over_elements(rows * size, 4), stream, images, N, index, places, noise, batch, out, rows,
         Divisor(size));
}

#define MV_INSTANTIATE(T)                                                                          \
  template void gather_pixels(const std::uint8_t*, Index, const std::int64_t*, Index, bool, Noise, \
                              const Count&, T*, Index, Index, Stream);
MV_INSTANTIATE(float)
MV_INSTANTIATE(double)

}  // namespace minivae
