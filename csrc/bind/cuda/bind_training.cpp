// Python bindings of what a training step on a GPU needs beside its model: optimiser, batches, counters.
#include "bind/cuda/modules.h"
#include "bind/cuda/scalar_arg.h"
#include "cuda/adam.h"
#include "cuda/pixels.h"
#include "cuda/zero.h"

namespace minivae {
namespace {

void adam_step(const py::sequence& params, const py::sequence& grads, const py::sequence& ms,
               const py::sequence& vs, Index step, const py::object& lr, double beta1, double beta2,
               double eps, double weight_decay, const py::object& counter, std::uintptr_t stream) {
  require_one_length(params, grads, ms, vs);
  const std::size_t size = params.size();
  if (size == 0) return;
  by_device_dtype("param", params[0], [&](auto zero) {
    using T = decltype(zero);
    DeviceArgs args;
    const Scalar rate = scalar_arg(args, "lr", lr);
    const Count t = count_arg(args, "counter", step, counter);
    std::vector<AdamArrays<T>> all;
    for (std::size_t i = 0; i < size; ++i) {
      const Shape shape = device_array("param", params[i]).shape;
      const T* gradient = args.input<T>("grad", grads[i], shape);
      all.push_back({args.output<T>("param", params[i], shape), gradient, args.output<T>("m", ms[i], shape),
                     args.output<T>("v", vs[i], shape), count(shape)});
    }
    adam(all, t, rate, {beta1, beta2, eps, weight_decay}, stream_of(stream));
  });
}

void finish_step(const py::object& counters, const py::sequence& terms, const py::object& out,
                 std::uintptr_t stream) {
  by_device_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const Shape shape = device_shape("counters", counters, 1);
    if (terms.size() != 3) {
      throw py::value_error(expected("terms", "three arrays", std::to_string(terms.size())));
    }
    DeviceArgs args;
    const T* given[3];
    for (std::size_t i = 0; i < 3; ++i) given[i] = one_element<T>(args, "term", terms[i]);
    T* latest = args.output<T>("out", out, {3});
    finish(args.output<std::uint64_t>("counters", counters, shape), shape[0], given, latest,
           stream_of(stream));
  });
}

void zero_array(const py::object& out, std::uintptr_t stream) {
  by_device_dtype("out", out, [&](auto number) {
    using T = decltype(number);
    const Shape shape = device_array("out", out).shape;
    DeviceArgs args;
    T* data = args.output<T>("out", out, shape);
    zero(data, static_cast<std::size_t>(count(shape)) * sizeof(T), stream_of(stream));
  });
}

void gather(const py::object& images, const py::object& index, const py::object& noise,
            const py::object& batch, const py::object& out, std::uintptr_t stream) {
  by_device_dtype("out", out, [&](auto zero) {
    using T = decltype(zero);
    const Shape in = device_array("images", images).shape, result = device_array("out", out).shape;
    bool fits = !in.empty() && in.size() == result.size();
    for (std::size_t i = 1; fits && i < in.size(); ++i) fits = in[i] == result[i];
    if (!fits) {
      throw py::value_error(expected("out", "the shape of images but for the first axis",
                                     to_text(result) + " for images " + to_text(in)));
    }
    const Shape places = device_shape("index", index, 1);
    if (batch.is_none() && places[0] != result[0]) {
      refuse_shape("index", {result[0]}, places);
    }
    DeviceArgs args;
    const auto* pixels = args.input<std::uint8_t>("images", images, in);
    const auto* order = args.input<std::int64_t>("index", index, places);
    const Noise draw = noise.is_none() ? Noise{} : args.noise(noise);
    const Count number = count_arg(args, "batch", 0, batch);
    T* data = args.output<T>("out", out, result);
    const Index size = count(Shape(result.begin() + 1, result.end()));
    gather_pixels(pixels, in[0], order, places[0], !noise.is_none(), draw, number, data, result[0], size,
                  stream_of(stream));
  });
}

void order_of_epoch(const py::object& noise, const py::object& order, const py::object& scratch,
                    std::uintptr_t stream) {
  const Shape shape = device_shape("order", order, 1);
  if (shape[0] >> 32) {
    throw py::value_error(expected("order", "fewer than 2^32 elements", "shape " + to_text(shape)));
  }
  DeviceArgs args;
  const Noise draw = args.noise(noise);
  auto* out = args.output<std::int64_t>("order", order, shape);
  auto* room = scratch_arg<std::uint64_t>(args, scratch, permutation_scratch(shape[0]));
  permutation(draw, room, out, shape[0], stream_of(stream));
}

}  // namespace

void bind_training(py::module_& module) {
  module.def("adam", &adam_step);
  module.def("finish", &finish_step);
  module.def("zero", &zero_array);
  module.def("gather_pixels", &gather);
  module.def("permutation", &order_of_epoch);
  module.def("permutation_scratch", &permutation_scratch, py::arg("count"),
             "uint64 elements of scratch that a permutation needs.");
}

}  // namespace minivae
