// Convolution and its two adjoints on images (N, C, H, W), as minivae.kernels.reference_layers defines
// them: conv2d.cu, conv2d_grad_weight.cu. Weights are (O, C, KH, KW).
#pragma once

#include "common/conv_shape.h"
#include "cuda/stream.h"

namespace minivae {

constexpr int kConv2dVersions = 6;  // of which the last two, tensor cores, are for float32 alone
constexpr int kConv2dBest = 4;      // the best with the full precision of its dtype

// y (N, O, OH, OW) = conv(x; w) + b, then max(., 0) if `rectify`; b (O,) may be null.
template <class T>
void conv2d(int version, const ConvShape& shape, const T* x, const T* w, const T* b, bool rectify, T* y,
            Stream stream);

// dx (N, C, H, W) = conv^T(dy; w) + b, then max(., 0) if `rectify`; b (C,) may be null.
template <class T>
void conv2d_grad_input(int version, const ConvShape& shape, const T* dy, const T* w, const T* b, bool rectify,
                       T* dx, Stream stream);

// dw (O, C, KH, KW); `scratch` has conv2d_grad_weight_scratch(O, C KH KW, N OH OW) elements of T.
template <class T>
void conv2d_grad_weight(const ConvShape& shape, const T* x, const T* dy, T* dw, T* scratch, Stream stream);

Index conv2d_grad_weight_scratch(Index rows, Index cols, Index depth);

}  // namespace minivae
