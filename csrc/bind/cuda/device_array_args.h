// Checks of the GPU arrays that come from Python, through the CUDA array interface (version 2 or 3) that
// CuPy, Numba and PyTorch offer. Failures are those of bind/array_args.h: TypeError for what a thing is,
// ValueError for shape, layout, alignment, writability, overlap and the wrong device. The elements are not
// read, so nothing waits for the GPU. The interface's own `stream` is ignored, because arrays have to be
// ready on the stream that the caller passes.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "bind/array_args.h"
#include "cuda/device.h"
#include "cuda/noise_source.h"
#include "cuda/stream.h"

namespace minivae {

struct DeviceArray {
  std::string type;  // as NumPy writes it: "<f4"
  Shape shape;
  void* data;
  bool read_only;
  Shape strides;    // in bytes; empty where the array gives none, because it is in C order
  bool contiguous;  // in C order
};

DeviceArray device_array(const char* name, const py::object& value);

inline bool is_device_array(const py::object& value) {
  return py::hasattr(value, "__cuda_array_interface__");
}

// The dtype's text in this machine's byte order.
template <class T>
const char* type_text() {
  if constexpr (std::is_same_v<T, float>) return "<f4";
  if constexpr (std::is_same_v<T, double>) return "<f8";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "|u1";
  if constexpr (std::is_same_v<T, std::int64_t>) return "<i8";
  if constexpr (std::is_same_v<T, std::uint64_t>) return "<u8";
}

// The memory has to be that of the current device.
void require_current_device(const char* name, const void* data);

inline Shape device_shape(const char* name, const py::object& value, std::size_t dimensions) {
  return with_dimensions(name, device_array(name, value).shape, dimensions);
}

// The arguments of one call. Inputs are named first; an output must not overlap anything named
// before it.
class DeviceArgs {
 public:
  template <class T>
  const T* input(const char* name, const py::object& value, const Shape& shape) {
    return static_cast<const T*>(take(name, value, shape, type_text<T>(), dtype_name<T>(), sizeof(T), false));
  }

  // None gives null.
  template <class T>
  const T* optional_input(const char* name, const py::object& value, const Shape& shape) {
    return value.is_none() ? nullptr : input<T>(name, value, shape);
  }

  template <class T>
  T* output(const char* name, const py::object& value, const Shape& shape) {
    return static_cast<T*>(take(name, value, shape, type_text<T>(), dtype_name<T>(), sizeof(T), true));
  }

  template <class T>
  T* optional_output(const char* name, const py::object& value, const Shape& shape) {
    return value.is_none() ? nullptr : output<T>(name, value, shape);
  }

  // The address of a draw: a tuple (seed, offset, first) or (seed, offset, first, counter).
  Noise noise(const py::object& value);

  // An array of this shape, or the address of a draw.
  template <class T>
  NoiseSource<T> noise_source(const py::object& value, const Shape& shape) {
    if (is_device_array(value)) return {input<T>("noise", value, shape), {}};
    return {nullptr, noise(value)};
  }

 private:
  void* take(const char* name, const py::object& value, const Shape& shape, const std::string& type,
             const std::string& dtype, std::size_t item, bool written);

  std::vector<Extent> named_;
};

// Calls run(T()) with the dtype of an array: float or double.
template <class Run>
auto by_device_dtype(const char* name, const py::object& value, Run run) {
  const std::string type = device_array(name, value).type;
  if (type == type_text<float>()) return run(float());
  if (type == type_text<double>()) return run(double());
  refuse_dtype(name, "float32 or float64", type);
}

// A stream as Python holds it: the handle as an integer, 0 for the default stream.
inline Stream stream_of(std::uintptr_t handle) {
  return reinterpret_cast<Stream>(handle);
}

// A kernel that has several versions has those from `first` to `last`.
inline void require_version(int version, int first, int last) {
  if (version < first || version > last) {
    throw py::value_error(
        expected("version", std::to_string(first) + ".." + std::to_string(last), std::to_string(version)));
  }
}

}  // namespace minivae
