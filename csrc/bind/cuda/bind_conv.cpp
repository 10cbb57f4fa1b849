// Python bindings of convolution and its two adjoints on a GPU.
#include <pybind11/stl.h>

#include "bind/conv_axis.h"
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/conv2d.h"

namespace minivae {
namespace {

struct ConvSettings {
  Pair stride, padding, dilation;
};

constexpr Index kLargestAxis = Index(1) << 30;

void expect_at_most(Index most, const char* what, Index got) {
  if (got <= most) return;
  throw py::value_error(expected("convolution", std::string(what) + " of at most " + std::to_string(most),
                                 std::to_string(got)));
}

// The kernels hold coordinates of the padded input in 32 bits.
ConvAxis checked_axis(int i, Index input, Index kernel, const ConvSettings& s, Index output = -1) {
  const ConvAxis a = conv_axis(i, input, kernel, s.stride, s.padding, s.dilation, output);
  expect_at_most(kLargestAxis, "input and padding together", a.input + 2 * a.padding);
  return a;
}

// The kernels hold distances in 32 bits too: between two weights, and between two elements that one position
// reads in an image of x or of y.
ConvShape checked_shape(const ConvShape& s) {
  const Index rows = (s.h.kernel - 1) * s.h.dilation, cols = (s.w.kernel - 1) * s.w.dilation + 1;
  const auto reach = [&](Index channels, Index height, Index width) {
    return channels > 0 ? ((channels - 1) * height + rows) * width + cols : 0;
  };
  expect_at_most(kLargest, "a number of weights", s.O * s.C * s.h.kernel * s.w.kernel);
  expect_at_most(kLargest, "distances between channels and taps in an image",
                 std::max(reach(s.C, s.h.input, s.w.input), reach(s.O, s.h.output, s.w.output)));
  return s;
}

// Version 0 stands for the best one.
template <class T>
int checked_version(int version) {
  const int best = version == 0 ? kConv2dBest : version;
  require_version(best, 1, std::is_same_v<T, float> ? kConv2dVersions : kConv2dBest);
  return best;
}

void forward(const py::object& x, const py::object& w, const py::object& b, const Pair& stride,
             const Pair& padding, const Pair& dilation, bool rectify, const py::object& y, int version,
             std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const ConvSettings s{stride, padding, dilation};
    const Shape in = device_shape("x", x, 4), k = device_shape("w", w, 4);
    const ConvShape shape =
        checked_shape({in[0], in[1], k[0], checked_axis(0, in[2], k[2], s), checked_axis(1, in[3], k[3], s)});
    DeviceArgs args;
    const T* images = args.input<T>("x", x, in);
    const T* weights = args.input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = args.optional_input<T>("b", b, {shape.O});
    T* out = args.output<T>("y", y, {shape.N, shape.O, shape.h.output, shape.w.output});
    conv2d(checked_version<T>(version), shape, images, weights, bias, rectify, out, stream_of(stream));
  });
}

void grad_input(const py::object& dy, const py::object& w, const py::object& b, const Pair& input_size,
                const Pair& stride, const Pair& padding, const Pair& dilation, bool rectify,
                const py::object& dx, int version, std::uintptr_t stream) {
  by_device_dtype("dy", dy, [&](auto zero) {
    using T = decltype(zero);
    const ConvSettings s{stride, padding, dilation};
    const Shape out = device_shape("dy", dy, 4), k = device_shape("w", w, 4);
    const ConvShape shape =
        checked_shape({out[0], k[1], out[1], checked_axis(0, input_size[0], k[2], s, out[2]),
                       checked_axis(1, input_size[1], k[3], s, out[3])});
    DeviceArgs args;
    const T* gradient = args.input<T>("dy", dy, out);
    const T* weights = args.input<T>("w", w, {shape.O, shape.C, k[2], k[3]});
    const T* bias = args.optional_input<T>("b", b, {shape.C});
    T* result = args.output<T>("dx", dx, {shape.N, shape.C, shape.h.input, shape.w.input});
    conv2d_grad_input(checked_version<T>(version), shape, gradient, weights, bias, rectify, result,
                      stream_of(stream));
  });
}

void grad_weight(const py::object& x, const py::object& dy, const Pair& kernel_size, const Pair& stride,
                 const Pair& padding, const Pair& dilation, const py::object& dw, const py::object& scratch,
                 std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const ConvSettings s{stride, padding, dilation};
    const Shape in = device_shape("x", x, 4), out = device_shape("dy", dy, 4);
    const ConvShape shape =
        checked_shape({in[0], in[1], out[1], checked_axis(0, in[2], kernel_size[0], s, out[2]),
                       checked_axis(1, in[3], kernel_size[1], s, out[3])});
    DeviceArgs args;
    const T* images = args.input<T>("x", x, in);
    const T* gradient = args.input<T>("dy", dy, {shape.N, shape.O, out[2], out[3]});
    T* result = args.output<T>("dw", dw, {shape.O, shape.C, kernel_size[0], kernel_size[1]});
    const Index need = conv2d_grad_weight_scratch(shape.O, shape.C * kernel_size[0] * kernel_size[1],
                                                  shape.N * out[2] * out[3]);
    T* room = reinterpret_cast<T*>(scratch_arg(args, scratch, need));
    conv2d_grad_weight(shape, images, gradient, result, room, stream_of(stream));
  });
}

}  // namespace

void bind_conv(py::module_& module) {
  module.def("conv2d", &forward);
  module.def("conv2d_grad_input", &grad_input);
  for (const char* kernel : {"conv2d", "conv2d_grad_input"}) {
    module.attr("VERSIONS")[kernel] = kConv2dVersions;
    module.attr("FLOAT64_VERSIONS")[kernel] = kConv2dBest;
  }
  module.def("conv2d_grad_weight", &grad_weight);
  module.def("conv2d_grad_weight_scratch", &conv2d_grad_weight_scratch, py::arg("rows"), py::arg("cols"),
             py::arg("depth"),
             "float64 elements of scratch for O rows, C KH KW columns and N OH OW positions.");
}

}  // namespace minivae
