// Python bindings of the kernels behind the layers: products, convolutions, batch normalisation, relu.
#include <pybind11/stl.h>

#include <algorithm>

#include "bind/array_args.h"
#include "bind/conv_axis.h"
#include "bind/cpu/modules.h"
#include "cpu/parallel.h"
#include "cpu/table.h"

namespace minivae {
namespace {

// A matrix of any strides that are whole elements.
template <class T>
Matrix<T> matrix(const char* name, const py::object& value, Index* rows, Index* cols) {
  const py::array a = any_array(name, value);
  if (!holds<T>(a)) {
    throw py::type_error(std::string(name) + " must be " + dtype_name<T>() + " in native byte order, got " +
                         std::string(py::str(a.dtype().attr("str"))));
  }
  if (a.ndim() != 2) {
    throw py::value_error(std::string(name) + " must have 2 dimensions, got shape " + to_text(shape_of(a)));
  }
  const Index size = sizeof(T);
  if (a.strides(0) % size || a.strides(1) % size ||
      reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) {
    throw py::value_error(std::string(name) + " must be aligned to its elements");
  }
  *rows = a.shape(0);
  *cols = a.shape(1);
  return {static_cast<const T*>(a.data()), a.strides(0) / size, a.strides(1) / size};
}

// The memory between the first and the last element.
template <class T>
Extent extent_of(const char* name, const Matrix<T>& m, Index rows, Index cols) {
  if (rows == 0 || cols == 0) return {name, m.p, 0};
  const Index down = (rows - 1) * m.row, across = (cols - 1) * m.col;
  const T* first = m.p + std::min<Index>(down, 0) + std::min<Index>(across, 0);
  const T* last = m.p + std::max<Index>(down, 0) + std::max<Index>(across, 0);
  return {name, first, static_cast<std::size_t>(last - first + 1) * sizeof(T)};
}

py::object matmul(const py::object& a, const py::object& b, const py::object& bias, const py::object& out,
                  bool rectify) {
  return by_dtype("a", a, [&](auto zero) -> py::object {
    using T = decltype(zero);
    Index M, N, K, inner;
    const Matrix<T> left = matrix<T>("a", a, &M, &K), right = matrix<T>("b", b, &inner, &N);
    if (K != inner) {
      throw py::value_error("a (" + std::to_string(M) + ", " + std::to_string(K) + ") and b (" +
                            std::to_string(inner) + ", " + std::to_string(N) +
                            ") do not fit: the columns of " + "a must be as many as the rows of b");
    }
    const T* columns = bias.is_none() ? nullptr : input<T>("bias", bias, {N});
    py::object result = out;
    if (out.is_none()) result = output<T>({M, N});
    T* c = in_place<T>("out", result, {M, N});
    if (!out.is_none()) {
      require_disjoint({"out", c, static_cast<std::size_t>(M * N) * sizeof(T)},
                       {extent_of("a", left, M, K),
                        extent_of("b", right, K, N),
                        {"bias", columns, columns ? static_cast<std::size_t>(N) * sizeof(T) : 0}});
    }
    py::gil_scoped_release release;
    kernels<T>().gemm(M, N, K, left, right, columns, rectify, c);
    return result;
  });
}

// The shape of an array of four dimensions.
Shape images(const char* name, const py::object& value) {
  const Shape shape = shape_of(any_array(name, value));
  if (shape.size() != 4) {
    throw py::value_error(std::string(name) + " must have 4 dimensions, got shape " + to_text(shape));
  }
  return shape;
}

template <class T>
const T* optional_input(const char* name, const py::object& value, const Shape& shape) {
  return value.is_none() ? nullptr : input<T>(name, value, shape);
}

py::object conv2d(const py::object& x, const py::object& w, const py::object& b, const Pair& stride,
                  const Pair& padding, const Pair& dilation) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape in = images("x", x), k = images("w", w);
    const ConvShape shape{in[0], in[1], k[0], conv_axis(0, in[2], k[2], stride, padding, dilation),
                          conv_axis(1, in[3], k[3], stride, padding, dilation)};
    const T* images = input<T>("x", x, in);
    const T* weights = input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = optional_input<T>("b", b, {shape.O});
    py::array_t<T> y = output<T>({shape.N, shape.O, shape.h.output, shape.w.output});
    T* out = y.mutable_data();
    py::gil_scoped_release release;
    kernels<T>().conv2d(shape, images, weights, bias, out);
    return std::move(y);
  });
}

py::object conv2d_grad_input(const py::object& dy, const py::object& w, const py::object& b,
                             const Pair& input_size, const Pair& stride, const Pair& padding,
                             const Pair& dilation) {
  return by_dtype("dy", dy, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape out = images("dy", dy), k = images("w", w);
    const ConvShape shape{out[0], k[1], out[1],
                          conv_axis(0, input_size[0], k[2], stride, padding, dilation, out[2]),
                          conv_axis(1, input_size[1], k[3], stride, padding, dilation, out[3])};
    const T* gradient = input<T>("dy", dy, out);
    const T* weights = input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = optional_input<T>("b", b, {shape.C});
    py::array_t<T> dx = output<T>({shape.N, shape.C, shape.h.input, shape.w.input});
    T* result = dx.mutable_data();
    py::gil_scoped_release release;
    kernels<T>().conv2d_grad_input(shape, gradient, weights, bias, result);
    return std::move(dx);
  });
}

py::object conv2d_grad_weight(const py::object& x, const py::object& dy, const Pair& kernel_size,
                              const Pair& stride, const Pair& padding, const Pair& dilation) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape in = images("x", x), out = images("dy", dy);
    const ConvShape shape{in[0], in[1], out[1],
                          conv_axis(0, in[2], kernel_size[0], stride, padding, dilation, out[2]),
                          conv_axis(1, in[3], kernel_size[1], stride, padding, dilation, out[3])};
    const T* images = input<T>("x", x, in);
    const T* gradient = input<T>("dy", dy, {shape.N, shape.O, out[2], out[3]});
    py::array_t<T> dw = output<T>({shape.O, shape.C, kernel_size[0], kernel_size[1]});
    T* result = dw.mutable_data();
    py::gil_scoped_release release;
    kernels<T>().conv2d_grad_weight(shape, images, gradient, result);
    return std::move(dw);
  });
}

// Elements below which a second thread costs more than it brings.
constexpr Index kGrain = 1 << 15;

// Runs work(images, first, last) on ranges of channels of an array (N, C, L). Images without pixels
// are not counted: there may be 2^62 of them, and nobody should wait for a loop over nothing.
template <class Work>
void for_channels(const Shape& shape, Work work) {
  const Index images = shape[2] > 0 ? shape[0] : 0;
  parallel_for(shape[1], ceil_div(kGrain, std::max<Index>(1, images * shape[2])),
               [&](Index first, Index last) { work(images, first, last); });
}

Shape three(const char* name, const py::object& value) {
  const Shape shape = shape_of(any_array(name, value));
  if (shape.size() != 3) {
    throw py::value_error(std::string(name) + " must have 3 dimensions, got shape " + to_text(shape));
  }
  return shape;
}

py::object channel_sum(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = three("x", x);
    const T* data = input<T>("x", x, shape);
    py::array_t<T> sums = output<T>({shape[1]});
    T* out = sums.mutable_data();
    py::gil_scoped_release release;
    for_channels(shape, [&](Index N, Index first, Index last) {
      kernels<T>().channel_sum(data, out, N, shape[1], shape[2], first, last);
    });
    return std::move(sums);
  });
}

py::tuple batch_norm_forward(const py::object& x, const py::object& w, const py::object& b,
                             const py::object& mean, const py::object& var, double eps) {
  return by_dtype("x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = three("x", x);
    const Shape channels{shape[1]};
    const T* data = input<T>("x", x, shape);
    const T* scale = input<T>("w", w, channels);
    const T* shift = input<T>("b", b, channels);
    if (mean.is_none() != var.is_none()) {
      throw py::value_error("mean and var must both be arrays or both be None");
    }
    const bool measure = mean.is_none();
    py::object means = mean, variances = var;
    if (measure) {
      means = output<T>(channels);
      variances = output<T>(channels);
    }
    T* m = const_cast<T*>(input<T>("mean", means, channels));
    T* v = const_cast<T*>(input<T>("var", variances, channels));
    py::array_t<T> y = output<T>(shape);
    T* out = y.mutable_data();
    {
      py::gil_scoped_release release;
      for_channels(shape, [&](Index N, Index first, Index last) {
        const Index C = shape[1], L = shape[2];
        if (measure) kernels<T>().batch_statistics(data, m, v, N, C, L, first, last);
        kernels<T>().batch_norm_forward(data, scale, shift, m, v, T(eps), out, N, C, L, first, last);
      });
    }
    return py::make_tuple(y, means, variances);
  });
}

py::tuple batch_norm_backward(const py::object& x, const py::object& w, const py::object& mean,
                              const py::object& var, double eps, const py::object& dy, bool training) {
  return by_dtype("x", x, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = three("x", x);
    const Shape channels{shape[1]};
    const T* data = input<T>("x", x, shape);
    const T* gradient = input<T>("dy", dy, shape);
    const T* scale = input<T>("w", w, channels);
    const T* m = input<T>("mean", mean, channels);
    const T* v = input<T>("var", var, channels);
    py::array_t<T> dx = output<T>(shape), dw = output<T>(channels), db = output<T>(channels);
    T *out_x = dx.mutable_data(), *out_w = dw.mutable_data(), *out_b = db.mutable_data();
    {
      py::gil_scoped_release release;
      for_channels(shape, [&](Index N, Index first, Index last) {
        kernels<T>().batch_norm_backward(data, scale, m, v, T(eps), gradient, training, out_x, out_w, out_b,
                                         N, shape[1], shape[2], first, last);
      });
    }
    return py::make_tuple(dx, dw, db);
  });
}

py::object relu(const py::object& x) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("x", x));
    const T* data = input<T>("x", x, shape);
    py::array_t<T> y = output<T>(shape);
    T* out = y.mutable_data();
    py::gil_scoped_release release;
    parallel_for(count(shape), kGrain,
                 [&](Index begin, Index end) { kernels<T>().relu(data, out, begin, end); });
    return std::move(y);
  });
}

py::object relu_backward(const py::object& y, const py::object& dy) {
  return by_dtype("y", y, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape shape = shape_of(any_array("y", y));
    const T* data = input<T>("y", y, shape);
    const T* gradient = input<T>("dy", dy, shape);
    py::array_t<T> dx = output<T>(shape);
    T* out = dx.mutable_data();
    py::gil_scoped_release release;
    parallel_for(count(shape), kGrain, [&](Index begin, Index end) {
      kernels<T>().relu_backward(data, gradient, out, begin, end);
    });
    return std::move(dx);
  });
}

py::tuple bias_relu_backward(const py::object& y, const py::object& dy) {
  return by_dtype("y", y, [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const Shape shape = three("y", y);
    const T* data = input<T>("y", y, shape);
    const T* gradient = input<T>("dy", dy, shape);
    py::array_t<T> dx = output<T>(shape), db = output<T>({shape[1]});
    T *out_x = dx.mutable_data(), *out_b = db.mutable_data();
    {
      py::gil_scoped_release release;
      for_channels(shape, [&](Index N, Index first, Index last) {
        kernels<T>().bias_relu_backward(data, gradient, out_x, out_b, N, shape[1], shape[2], first, last);
      });
    }
    return py::make_tuple(dx, db);
  });
}

}  // namespace

void bind_conv(py::module_& module) {
  module.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("bias"), py::arg("out"),
             py::arg("rectify") = false);
  module.def("conv2d", &conv2d);
  module.def("conv2d_grad_input", &conv2d_grad_input);
  module.def("conv2d_grad_weight", &conv2d_grad_weight);
  module.def("channel_sum", &channel_sum);
  module.def("batch_norm_forward", &batch_norm_forward);
  module.def("batch_norm_backward", &batch_norm_backward);
  module.def("relu", &relu);
  module.def("relu_backward", &relu_backward);
  module.def("bias_relu_backward", &bias_relu_backward);
}

}  // namespace minivae
