// Python bindings of convolution and its two adjoints on the CPU.
#include <pybind11/stl.h>

#include "bind/conv_axis.h"
#include "bind/cpu/modules.h"
#include "bind/cpu/recorder.h"
#include "cpu/table.h"

namespace minivae {
namespace {

py::object conv2d(const py::object& x, const py::object& w, const py::object& b, const Pair& stride,
                  const Pair& padding, const Pair& dilation, bool rectify) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape in = shape_with("x", x, 4), k = shape_with("w", w, 4);
    const ConvShape shape{in[0], in[1], k[0], conv_axis(0, in[2], k[2], stride, padding, dilation),
                          conv_axis(1, in[3], k[3], stride, padding, dilation)};
    const T* images = input<T>("x", x, in);
    const T* weights = input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = optional_input<T>("b", b, {shape.O});
    py::array_t<T> y = result<T>({shape.N, shape.O, shape.h.output, shape.w.output});
    T* out = y.mutable_data();
    launch({x, w, b}, [=] { kernels<T>().conv2d(shape, images, weights, bias, rectify, out); });
    return std::move(y);
  });
}

py::object conv2d_grad_input(const py::object& dy, const py::object& w, const py::object& b,
                             const Pair& input_size, const Pair& stride, const Pair& padding,
                             const Pair& dilation, bool rectify) {
  return by_dtype("dy", dy, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape out = shape_with("dy", dy, 4), k = shape_with("w", w, 4);
    const ConvShape shape{out[0], k[1], out[1],
                          conv_axis(0, input_size[0], k[2], stride, padding, dilation, out[2]),
                          conv_axis(1, input_size[1], k[3], stride, padding, dilation, out[3])};
    const T* gradient = input<T>("dy", dy, out);
    const T* weights = input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = optional_input<T>("b", b, {shape.C});
    py::array_t<T> dx = result<T>({shape.N, shape.C, shape.h.input, shape.w.input});
    T* to = dx.mutable_data();
    launch({dy, w, b}, [=] { kernels<T>().conv2d_grad_input(shape, gradient, weights, bias, rectify, to); });
    return std::move(dx);
  });
}

py::object conv2d_grad_weight(const py::object& x, const py::object& dy, const Pair& kernel_size,
                              const Pair& stride, const Pair& padding, const Pair& dilation) {
  return by_dtype("x", x, [&](auto zero) -> py::object {
    using T = decltype(zero);
    const Shape in = shape_with("x", x, 4), out = shape_with("dy", dy, 4);
    const ConvShape shape{in[0], in[1], out[1],
                          conv_axis(0, in[2], kernel_size[0], stride, padding, dilation, out[2]),
                          conv_axis(1, in[3], kernel_size[1], stride, padding, dilation, out[3])};
    const T* images = input<T>("x", x, in);
    const T* gradient = input<T>("dy", dy, {shape.N, shape.O, out[2], out[3]});
    py::array_t<T> dw = result<T>({shape.O, shape.C, kernel_size[0], kernel_size[1]});
    T* to = dw.mutable_data();
    launch({x, dy}, [=] { kernels<T>().conv2d_grad_weight(shape, images, gradient, to); });
    return std::move(dw);
  });
}

}  // namespace

void bind_conv(py::module_& module) {
  module.def("conv2d", &conv2d);
  module.def("conv2d_grad_input", &conv2d_grad_input);
  module.def("conv2d_grad_weight", &conv2d_grad_weight);
}

}  // namespace minivae
