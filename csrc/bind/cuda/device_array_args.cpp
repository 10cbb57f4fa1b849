// The checks that device_array_args.h declares: arrays, their memory and noise as arguments of a kernel.
#include "bind/cuda/device_array_args.h"

#include <pybind11/stl.h>

namespace minivae {

DeviceArray device_array(const char* name, const py::object& value) {
  const py::object found = py::getattr(value, "__cuda_array_interface__", py::none());
  if (!py::isinstance<py::dict>(found)) {
    throw py::type_error(expected(name, "an array on a GPU", type_name(value)));
  }
  const py::dict interface = py::reinterpret_borrow<py::dict>(found);
  DeviceArray a;
  a.type = interface["typestr"].cast<std::string>();
  a.shape = interface["shape"].cast<py::tuple>().cast<Shape>();
  const auto data = interface["data"].cast<py::tuple>();
  a.data = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
  a.read_only = data[1].cast<bool>();
  a.contiguous = true;
  const py::object strides = interface.attr("get")("strides");
  if (!strides.is_none()) {
    // The stride of an axis of extent 0 or 1 is never used, and an empty array has no elements.
    a.strides = strides.cast<Shape>();
    if (a.strides.size() != a.shape.size()) {
      throw py::value_error(
          expected(name, "a stride for each axis of " + to_text(a.shape), to_text(a.strides)));
    }
    py::ssize_t step = std::stoll(a.type.substr(2));
    for (std::size_t i = a.shape.size(); i-- > 0; step *= a.shape[i]) {
      if (a.shape[i] > 1 && a.strides[i] != step) a.contiguous = false;
    }
    if (count(a.shape) == 0) a.contiguous = true;
  }
  return a;
}

void require_current_device(const char* name, const void* data) {
  const int device = device_of(data), current = current_device();
  if (device == current) return;
  throw py::value_error(expected(name, "memory of the current device, " + std::to_string(current),
                                 device < 0 ? "the host's" : "memory of device " + std::to_string(device)));
}

void* DeviceArgs::take(const char* name, const py::object& value, const Shape& shape, const std::string& type,
                       const std::string& dtype, std::size_t item, bool written) {
  const DeviceArray a = device_array(name, value);
  if (a.type != type) refuse_dtype(name, dtype, a.type);
  if (!matches(shape, a.shape)) refuse_shape(name, shape, a.shape);
  if (!a.contiguous) refuse_strides(name, a.shape, a.strides);
  if (written && a.read_only) refuse_read_only(name);
  const std::size_t bytes = static_cast<std::size_t>(count(a.shape)) * item;
  if (bytes == 0) return a.data;
  require_aligned(name, a.data, item);
  require_current_device(name, a.data);
  const Extent extent{name, a.data, bytes};
  if (written) {
    for (const Extent& other : named_) require_disjoint(extent, {other});
  }
  named_.push_back(extent);
  return a.data;
}

Noise DeviceArgs::noise(const py::object& value) {
  const auto refusal = [](const std::string& got) {
    return py::type_error(expected("noise",
                                   "an array on a GPU or a tuple (seed, offset, first) or (seed, offset, "
                                   "first, counter) of integers in [0, 2^64)",
                                   got));
  };
  const bool is_tuple = py::isinstance<py::tuple>(value);
  const auto length = is_tuple ? py::len(value) : 0;
  if (length != 3 && length != 4) {
    throw refusal(type_name(value) + (is_tuple ? " of length " + std::to_string(length) : ""));
  }
  const auto parts = py::reinterpret_borrow<py::tuple>(value);
  Noise noise{};
  try {
    noise = {parts[0].cast<std::uint64_t>(), parts[1].cast<std::uint64_t>(), parts[2].cast<std::uint64_t>()};
  } catch (const py::cast_error&) {
    throw refusal(py::repr(value));
  }
  if (length == 4) {
    const py::object counter = parts[3];
    if (!counter.is_none()) {
      const Shape shape = device_array("counter", counter).shape;
      noise.counter = input<std::uint64_t>("counter", counter, shape.empty() ? Shape{} : Shape{1});
    }
  }
  return noise;
}

}  // namespace minivae
