// Checks of the arrays that cross from Python, in one place. Every failure names the function's
// argument, what was expected and what was given: TypeError for what a thing is (not an array, wrong
// dtype or byte order), ValueError for its shape, memory layout, alignment, writability or overlap.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "common/host_device.h"
#include "cpu/heap.h"

namespace minivae {

namespace py = pybind11;
using Shape = std::vector<py::ssize_t>;

// An extent that may be anything.
constexpr py::ssize_t kAny = -1;

// Extents or strides as Python prints them.
inline std::string to_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + (shape[i] == kAny ? std::string("any") : std::to_string(shape[i]));
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline Shape shape_of(const py::array& a) {
  return Shape(a.shape(), a.shape() + a.ndim());
}

// Element count of a shape.
inline Index count(const Shape& shape) {
  Index n = 1;
  for (auto extent : shape) n *= extent;
  return n;
}

template <class T>
std::string dtype_name() {
  return py::str(py::dtype::of<T>().attr("name"));
}

// As NumPy writes it, byte order included: "<f4".
inline std::string dtype_text(const py::array& a) {
  return py::str(a.dtype().attr("str"));
}

inline py::array any_array(const char* name, const py::object& value) {
  if (!py::isinstance<py::array>(value)) {
    throw py::type_error(std::string(name) + " must be a NumPy array, got " +
                         std::string(py::str(py::type::of(value).attr("__name__"))));
  }
  return py::reinterpret_borrow<py::array>(value);
}

// Same kind of element in this machine's byte order.
template <class T>
bool holds(const py::array& a) {
  return a.dtype().equal(py::dtype::of<T>());
}

template <class T>
void require_dtype(const char* name, const py::array& a) {
  if (holds<T>(a)) return;
  throw py::type_error(std::string(name) + " must be " + dtype_name<T>() + " in native byte order, got " +
                       dtype_text(a));
}

// An array of T in C order of the given shape (kAny matches any extent), ready to be read.
template <class T>
py::array array_arg(const char* name, const py::object& value, const Shape* shape = nullptr) {
  py::array a = any_array(name, value);
  require_dtype<T>(name, a);
  bool fits = !shape || static_cast<std::size_t>(a.ndim()) == shape->size();
  for (std::size_t i = 0; shape && fits && i < shape->size(); ++i) {
    fits = (*shape)[i] == kAny || (*shape)[i] == a.shape(static_cast<py::ssize_t>(i));
  }
  if (!fits) {
    throw py::value_error(std::string(name) + " must have shape " + to_text(*shape) + ", got " +
                          to_text(shape_of(a)));
  }
  if (!(a.flags() & py::array::c_style)) {
    throw py::value_error(std::string(name) + " must be C-contiguous, got strides " +
                          to_text(Shape(a.strides(), a.strides() + a.ndim())) + " for shape " +
                          to_text(shape_of(a)));
  }
  if (reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) {
    throw py::value_error(std::string(name) + " must be aligned to " + std::to_string(alignof(T)) + " bytes");
  }
  return a;
}

template <class T>
const T* input(const char* name, const py::object& value, const Shape& shape) {
  return static_cast<const T*>(array_arg<T>(name, value, &shape).data());
}

// None gives null.
template <class T>
const T* optional_input(const char* name, const py::object& value, const Shape& shape) {
  return value.is_none() ? nullptr : input<T>(name, value, shape);
}

// A shape that has to have `dimensions` dimensions.
inline Shape with_dimensions(const char* name, const Shape& shape, std::size_t dimensions) {
  if (shape.size() != dimensions) {
    throw py::value_error(std::string(name) + " must have " + std::to_string(dimensions) +
                          " dimensions, got shape " + to_text(shape));
  }
  return shape;
}
inline Shape shape_with(const char* name, const py::object& value, std::size_t dimensions) {
  return with_dimensions(name, shape_of(any_array(name, value)), dimensions);
}

// An array that the kernel changes in place.
template <class T>
T* in_place(const char* name, const py::object& value, const Shape& shape) {
  py::array a = array_arg<T>(name, value, &shape);
  if (!a.writeable()) {
    throw py::value_error(std::string(name) + " is changed in place, but is read-only");
  }
  return static_cast<T*>(a.mutable_data());
}

// A fresh array in C order. A large one has memory that an earlier one had and nobody refers to any more.
template <class T>
py::array_t<T> output(const Shape& shape) {
  const std::size_t bytes = static_cast<std::size_t>(count(shape)) * sizeof(T);
  if (bytes < kLargeBlock) return py::array_t<T>(shape);
  void* block = take_large_block(bytes);
  const py::capsule owner(block, [](void* unused) { give_large_block(unused); });
  return py::array_t<T>(shape, static_cast<T*>(block), owner);
}

struct Extent {  // a named piece of memory
  const char* name;
  const void* data;
  std::size_t bytes;
};

inline void require_disjoint(const Extent& written, std::initializer_list<Extent> others) {
  const auto begin = reinterpret_cast<std::uintptr_t>(written.data);
  for (const Extent& other : others) {
    const auto start = reinterpret_cast<std::uintptr_t>(other.data);
    if (begin < start + other.bytes && start < begin + written.bytes) {
      throw py::value_error(std::string(written.name) + " is changed in place, but overlaps " + other.name);
    }
  }
}

// Calls run(T()) with the dtype of an array: float or double.
template <class Run>
auto by_dtype(const char* name, const py::object& value, Run run) {
  py::array a = any_array(name, value);
  if (holds<float>(a)) return run(float());
  if (holds<double>(a)) return run(double());
  throw py::type_error(std::string(name) + " must be float32 or float64 in native byte order, got " +
                       dtype_text(a));
}

}  // namespace minivae
