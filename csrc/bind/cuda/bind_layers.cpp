// Python bindings of layers on a GPU: fully connected layers, bias, ReLU, batch normalisation.
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/batch_norm.h"
#include "cuda/bias_activation.h"
#include "cuda/linear.h"
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
    require_at_least("count", 2, count);
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
    require_both_or_none(mean, var);
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

// One or two maps of x: as many as there are weights.
template <class T>
Layer<T> layer_of(DeviceArgs& args, const Shape& x, const py::sequence& weights) {
  if (weights.size() < 1 || weights.size() > 2) {
    throw py::value_error(expected("weights", "one or two arrays", std::to_string(weights.size())));
  }
  Layer<T> layer{x[0], x[1], {0, 0}, {nullptr, nullptr}, {nullptr, nullptr}};
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const Shape shape = device_shape("w", weights[k], 2);
    layer.O[k] = shape[0];
    layer.w[k] = args.input<T>("w", weights[k], {shape[0], layer.I});
  }
  if (layer.N < 1 || layer.I < 1 || layer.O[0] < 1) {
    throw py::value_error(expected("linear", "x and w with at least one element",
                                   "x " + to_text(x) + " and w " + to_text({layer.O[0], layer.I})));
  }
  return layer;
}

void require_as_many(const char* name, const py::sequence& arrays, const py::sequence& weights) {
  if (arrays.size() != weights.size()) {
    throw py::value_error(expected(name, "as many as weights, " + std::to_string(weights.size()),
                                   std::to_string(arrays.size())));
  }
}

template <class T>
unsigned* tickets_arg(DeviceArgs& args, const py::object& tickets) {
  return reinterpret_cast<unsigned*>(args.output<std::uint64_t>("tickets", tickets, {kTickets / 2}));
}

// The elements of scratch to ask for: two doubles more than the partial sums need, because their memory has
// to be aligned to 16 bytes.
Index asked_scratch(Index rows, Index columns, Index depth) {
  const Index need = linear_scratch(rows, columns, depth);
  return need > 0 ? need + 2 : 0;
}

template <class T>
T* aligned_scratch(DeviceArgs& args, const py::object& scratch, Index need) {
  const auto address = reinterpret_cast<std::uintptr_t>(scratch_arg(args, scratch, need));
  return reinterpret_cast<T*>((address + 15) / 16 * 16);
}

void affine(const py::object& x, const py::sequence& weights, const py::sequence& biases, bool rectify,
            const py::sequence& ys, const py::object& scratch, const py::object& tickets,
            std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 2);
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    Layer<T> layer = layer_of<T>(args, shape, weights);
    require_as_many("biases", biases, weights);
    require_as_many("ys", ys, weights);
    T* out[2] = {nullptr, nullptr};
    for (std::size_t k = 0; k < weights.size(); ++k) {
      layer.b[k] = args.optional_input<T>("b", biases[k], {layer.O[k]});
    }
    for (std::size_t k = 0; k < weights.size(); ++k) {
      out[k] = args.output<T>("y", ys[k], {layer.N, layer.O[k]});
    }
    const Index need = asked_scratch(layer.N, layer.O[0] + layer.O[1], layer.I);
    T* room = aligned_scratch<T>(args, scratch, need);
    linear(layer, in, rectify, out, room, tickets_arg<T>(args, tickets), stream_of(stream));
  });
}

// The upstream gradients of a layer, and what its ReLU gave, or None.
template <class T>
Upstream<T> upstream_of(DeviceArgs& args, const Layer<T>& layer, const py::sequence& weights,
                        const py::sequence& dys, const py::object& y) {
  require_as_many("dys", dys, weights);
  if (!y.is_none() && weights.size() > 1) {
    throw py::value_error(expected("y", "None for two maps", type_name(y)));
  }
  Upstream<T> upstream{{nullptr, nullptr}, args.optional_input<T>("y", y, {layer.N, layer.O[0]})};
  for (std::size_t k = 0; k < weights.size(); ++k) {
    upstream.dy[k] = args.input<T>("dy", dys[k], {layer.N, layer.O[k]});
  }
  return upstream;
}

void affine_grad_input(const py::object& x, const py::sequence& weights, const py::sequence& dys,
                       const py::object& y, const py::object& dx, const py::object& scratch,
                       const py::object& tickets, std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 2);
    DeviceArgs args;
    const Layer<T> layer = layer_of<T>(args, shape, weights);
    const Upstream<T> upstream = upstream_of(args, layer, weights, dys, y);
    T* out = args.output<T>("dx", dx, shape);
    const Index need = asked_scratch(layer.N, layer.I, layer.O[0] + layer.O[1]);
    T* room = aligned_scratch<T>(args, scratch, need);
    linear_grad_input(layer, upstream, out, room, tickets_arg<T>(args, tickets), stream_of(stream));
  });
}

void affine_grad_weight(const py::object& x, const py::sequence& weights, const py::sequence& dys,
                        const py::object& y, const py::sequence& dws, const py::sequence& dbs,
                        const py::object& scratch, const py::object& tickets, std::uintptr_t stream) {
  by_device_dtype("x", x, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("x", x, 2);
    DeviceArgs args;
    const T* in = args.input<T>("x", x, shape);
    const Layer<T> layer = layer_of<T>(args, shape, weights);
    const Upstream<T> upstream = upstream_of(args, layer, weights, dys, y);
    require_as_many("dws", dws, weights);
    require_as_many("dbs", dbs, weights);
    T *dw[2] = {nullptr, nullptr}, *db[2] = {nullptr, nullptr};
    for (std::size_t k = 0; k < weights.size(); ++k) {
      dw[k] = args.output<T>("dw", dws[k], {layer.O[k], layer.I});
      db[k] = args.optional_output<T>("db", dbs[k], {layer.O[k]});
    }
    const Index need = asked_scratch(layer.O[0] + layer.O[1], layer.I + 1, layer.N);
    T* room = aligned_scratch<T>(args, scratch, need);
    linear_grad_weight(layer, upstream, in, dw, db, room, tickets_arg<T>(args, tickets), stream_of(stream));
  });
}

}  // namespace

void bind_layers(py::module_& module) {
  module.def("relu", &relu_forward);
  module.def("relu_backward", &relu_gradient);
  module.def("bias_activation", &bias_forward);
  module.def("bias_relu_backward", &bias_backward);
  module.def("channel_sum", &sum_of_channels);
  module.def("linear", &affine);
  module.def("linear_grad_input", &affine_grad_input);
  module.def("linear_grad_weight", &affine_grad_weight);
  module.def("linear_scratch", &asked_scratch, py::arg("rows"), py::arg("columns"), py::arg("depth"),
             "float64 elements of scratch that a product of a layer needs.");
  module.attr("TICKETS") = kTickets / 2;
  module.def("update_running", &running);
  module.def("batch_norm_forward", &normalize);
  module.def("batch_norm_backward", &normalize_backward);
  module.def(
      "channel_scratch", [](Index N, Index C, Index L, int sums) { return channel_scratch({N, C, L}, sums); },
      py::arg("N"), py::arg("C"), py::arg("L"), py::arg("sums"),
      "float64 elements of scratch that `sums` sums over the channels of (N, C, L) need.");
}

}  // namespace minivae
