// Checks of a kernel's other arguments: numbers that may be in GPU memory, and scratch memory.
#pragma once

#include "bind/cuda/device_array_args.h"
#include "cuda/scalar.h"

namespace minivae {

// An array of one element, with or without an axis.
template <class T>
const T* one_element(DeviceArgs& args, const char* name, const py::object& value) {
  return args.input<T>(name, value, device_array(name, value).shape.empty() ? Shape{} : Shape{1});
}

// A number, or an array of one float64 that holds it when the kernel runs.
inline Scalar scalar_arg(DeviceArgs& args, const char* name, const py::object& value) {
  if (is_device_array(value)) return {0, one_element<double>(args, name, value)};
  try {
    return {value.cast<double>(), nullptr};
  } catch (const py::cast_error&) {
    throw py::type_error(expected(name, "a number or an array of one element on a GPU", type_name(value)));
  }
}

// A number to count from, and an array of one uint64 that is added when the kernel runs, or None.
inline Count count_arg(DeviceArgs& args, const char* name, Index start, const py::object& counter) {
  return {start, counter.is_none() ? nullptr : one_element<std::uint64_t>(args, name, counter)};
}

// Scratch memory: float64 (or what T says), of at least `least` elements; None where none is needed.
template <class T = double>
T* scratch_arg(DeviceArgs& args, const py::object& value, Index least) {
  if (least == 0) return nullptr;
  if (value.is_none()) {
    throw py::value_error(expected("scratch", "at least " + std::to_string(least) + " elements", "None"));
  }
  const Shape shape = device_array("scratch", value).shape;
  if (shape.size() != 1 || shape[0] < least) {
    throw py::value_error(expected("scratch",
                                   "one dimension of at least " + std::to_string(least) + " elements",
                                   "shape " + to_text(shape)));
  }
  return args.output<T>("scratch", value, shape);
}

}  // namespace minivae
