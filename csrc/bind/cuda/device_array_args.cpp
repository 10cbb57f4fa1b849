#include "bind/cuda/device_array_args.h"

#include <pybind11/stl.h>

namespace minivae {

DeviceArray device_array(const char* name, const py::object& value) {
  const py::object found = py::getattr(value, "__cuda_array_interface__", py::none());
  if (!py::isinstance<py::dict>(found)) {
    throw py::type_error(std::string(name) + " must be an array on a GPU, got " +
                         std::string(py::str(py::type::of(value).attr("__name__"))));
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
    const auto steps = strides.cast<Shape>();
    py::ssize_t step = std::stoll(a.type.substr(2));
    for (std::size_t i = a.shape.size(); i-- > 0; step *= a.shape[i]) {
      if (a.shape[i] > 1 && steps[i] != step) a.contiguous = false;
    }
    if (count(a.shape) == 0) a.contiguous = true;
  }
  return a;
}

void* DeviceArgs::take(const char* name, const py::object& value, const Shape& shape, const std::string& type,
                       const std::string& dtype, std::size_t item, bool written) {
  const DeviceArray a = device_array(name, value);
  const std::string subject(name);
  if (a.type != type) {
    throw py::type_error(subject + " must be " + dtype + " in native byte order, got " + a.type);
  }
  bool fits = a.shape.size() == shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] == kAny || shape[i] == a.shape[i];
  if (!fits) {
    throw py::value_error(subject + " must have shape " + to_text(shape) + ", got " + to_text(a.shape));
  }
  if (!a.contiguous) throw py::value_error(subject + " must be C-contiguous");
  if (written && a.read_only) throw py::value_error(subject + " is written to, but is read-only");
  const std::size_t bytes = static_cast<std::size_t>(count(a.shape)) * item;
  if (bytes == 0) return a.data;
  if (reinterpret_cast<std::uintptr_t>(a.data) % item != 0) {
    throw py::value_error(subject + " must be aligned to " + std::to_string(item) + " bytes");
  }
  const int device = device_of(a.data), current = current_device();
  if (device != current) {
    throw py::value_error(subject + " must be in the memory of the current device, " +
                          std::to_string(current) +
                          (device < 0 ? ", and is in the host's" : ", and is on " + std::to_string(device)));
  }
  const Extent extent{name, a.data, bytes};
  if (written) {
    for (const Extent& other : named_) require_disjoint(extent, {other});
  }
  named_.push_back(extent);
  return a.data;
}

Noise DeviceArgs::noise(const py::object& value) {
  const bool is_tuple = py::isinstance<py::tuple>(value);
  const auto length = is_tuple ? py::len(value) : 0;
  if (length != 3 && length != 4) {
    throw py::type_error(
        "noise must be an array on a GPU or a tuple (seed, offset, first) or (seed, offset, first, counter)");
  }
  const auto parts = py::reinterpret_borrow<py::tuple>(value);
  Noise noise{parts[0].cast<std::uint64_t>(), parts[1].cast<std::uint64_t>(), parts[2].cast<std::uint64_t>()};
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
