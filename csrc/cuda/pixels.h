// Batches made on the GPU from a data set that stays there: gather_pixels.cu, permutation.cu.
#pragma once

#include "cuda/noise_source.h"
#include "cuda/scalar.h"
#include "cuda/stream.h"

namespace minivae {

// Row r of out (rows, size) is image number index[batch * rows + r] of images (N, size): p / 255, or a
// draw of Bernoulli(p / 255) if `draw`. A row is NaN where that place is past the end of index
// (`places` elements) or its number is not in [0, N): to raise an error the host would have to
// wait for the GPU.
template <class T>
void gather_pixels(const std::uint8_t* images, Index N, const std::int64_t* index, Index places, bool draw,
                   Noise noise, const Count& batch, T* out, Index rows, Index size, Stream stream);

// The order that sorts the stream's first `count` uniform numbers, as minivae.data.batches.permutation.
// `scratch` has permutation_scratch(count) elements; count is below 2^32.
void permutation(Noise noise, std::uint64_t* scratch, std::int64_t* order, Index count, Stream stream);

Index permutation_scratch(Index count);

}  // namespace minivae
