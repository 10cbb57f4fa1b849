// What stands around the products of a layer: bias, rectifier, batch normalisation.
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/batch_norm.h"
#include "cuda/bias_activation.h"
#include "cuda/relu.h"

namespace minivae {
namespace {

Channels channels_of(const Shape& shape) {
  return {shape[0], shape[1], shape[2]};
}

void relu_forward(const py::object& x, const py::object& y, std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_array("x", x).shape;
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    T* out = args.output<T>("y", y, shape);
    relu(in, out, count(shape), stream_of(stream));
  });
}

void relu_gradient(const py::object& y, const py::object& dy, const py::object& dx, std::uintptr_t stream) {
  by_device_dtype("y", y, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_array("y", y).shape;
    DeviceArgs args;
    const T* out = args.input<T>("y", y, shape);
    const T* upstream = args.input<T>("dy", dy, shape);
    T* gradient = args.output<T>("dx", dx, shape);
    relu_backward(out, upstream, gradient, count(shape), stream_of(stream));
  });
}

void bias_forward(const py::object& x, const py::object& b, bool rectify, const py::object& y,
                  std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 3);
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    const T* bias = args.input<T>("b", b, {shape[1]});
    T* out = args.output<T>("y", y, shape);
    bias_activation(in, bias, rectify, out, channels_of(shape), stream_of(stream));
  });
}

void bias_backward(const py::object& y, const py::object& dy, const py::object& dx, const py::object& db,
                   const py::object& scratch, std::uintptr_t stream) {
  by_device_dtype("y", y, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("y", y, 3);
    const Channels channels = channels_of(shape);
    DeviceArgs args;
    const T* out = args.input<T>("y", y, shape);
    const T* upstream = args.input<T>("dy", dy, shape);
    T* gradient = args.output<T>("dx", dx, shape);
    T* sums = args.output<T>("db", db, {shape[1]});
    double* room = scratch_arg(args, scratch, channel_scratch(channels, 1));
    bias_relu_backward(out, upstream, gradient, sums, room, channels, stream_of(stream));
  });
}

void sum_of_channels(const py::object& x, const py::object& sums, const py::object& scratch,
                     std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 3);
    const Channels channels = channels_of(shape);
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    T* out = args.output<T>("sums", sums, {shape[1]});
    double* room = scratch_arg(args, scratch, channel_scratch(channels, 1));
    channel_sum(in, out, room, channels, stream_of(stream));
  });
}

void running(const py::object& mean, const py::object& var, Index count, double momentum,
             const py::object& running_mean, const py::object& running_var, std::uintptr_t stream) {
  by_device_dtype("mean", mean, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("mean", mean, 1);
    DeviceArgs args;
    const T* m = args.input<T>("mean", mean, shape);
    const T* v = args.input<T>("var", var, shape);
    T* rm = args.output<T>("running_mean", running_mean, shape);
    T* rv = args.output<T>("running_var", running_var, shape);
    if (count < 2) throw py::value_error("count must be at least 2, got " + std::to_string(count));
    update_running(m, v, count, momentum, rm, rv, shape[0], stream_of(stream));
  });
}

// mean and var are those of the batch when they are None, and are then stored in the last two outputs.
void normalize(const py::object& x, const py::object& w, const py::object& b, const py::object& mean,
               const py::object& var, double eps, const py::object& y, const py::object& batch_mean,
               const py::object& batch_var, const py::object& scratch, std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 3), channels{shape[1]};
    if (mean.is_none() != var.is_none()) {
      throw py::value_error("mean and var must both be arrays or both be None");
    }
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    const T* scale = args.input<T>("w", w, channels);
    const T* shift = args.input<T>("b", b, channels);
    const T* m = args.optional_input<T>("mean", mean, channels);
    const T* v = args.optional_input<T>("var", var, channels);
    T* out = args.output<T>("y", y, shape);
    if (!m) {
      T* fresh_mean = args.output<T>("batch_mean", batch_mean, channels);
      T* fresh_var = args.output<T>("batch_var", batch_var, channels);
      double* room = scratch_arg(args, scratch, channel_scratch(channels_of(shape), 2));
      batch_statistics(in, fresh_mean, fresh_var, room, channels_of(shape), stream_of(stream));
      m = fresh_mean;
      v = fresh_var;
    }
    batch_norm_forward(in, scale, shift, m, v, eps, out, channels_of(shape), stream_of(stream));
  });
}

void normalize_backward(const py::object& x, const py::object& w, const py::object& mean,
                        const py::object& var, double eps, const py::object& dy, bool training,
                        const py::object& dx, const py::object& dw, const py::object& db,
                        const py::object& scratch, std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 3), channels{shape[1]};
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    const T* scale = args.input<T>("w", w, channels);
    const T* m = args.input<T>("mean", mean, channels);
    const T* v = args.input<T>("var", var, channels);
    const T* upstream = args.input<T>("dy", dy, shape);
    T* gx = args.output<T>("dx", dx, shape);
    T* gw = args.output<T>("dw", dw, channels);
    T* gb = args.output<T>("db", db, channels);
    double* room = scratch_arg(args, scratch, channel_scratch(channels_of(shape), 2));
    batch_norm_backward(in, scale, m, v, eps, upstream, training, gx, gw, gb, room, channels_of(shape),
                        stream_of(stream));
  });
}

}  // namespace

void bind_layers(py::module_& module) {
  module.def("relu", &relu_forward);
  module.def("relu_backward", &relu_gradient);
  module.def("bias_activation", &bias_forward);
  module.def("bias_relu_backward", &bias_backward);
  module.def("channel_sum", &sum_of_channels);
  module.def("update_running", &running);
  module.def("batch_norm_forward", &normalize);
  module.def("batch_norm_backward", &normalize_backward);
  module.def(
      "channel_scratch", [](Index N, Index C, Index L, int sums) { return channel_scratch({N, C, L}, sums); },
      py::arg("N"), py::arg("C"), py::arg("L"), py::arg("sums"),
      "float64 elements of scratch that `sums` sums over the channels of (N, C, L) need.");
}

}  // namespace minivae
