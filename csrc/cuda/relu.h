// ReLU over `count` elements: relu.cu.
#pragma once

#include "common/host_device.h"
#include "cuda/stream.h"

namespace minivae {

template <class T>
void relu(const T* x, T* y, Index count, Stream stream);

template <class T>
void relu_backward(const T* y, const T* dy, T* dx, Index count, Stream stream);

}  // namespace minivae
