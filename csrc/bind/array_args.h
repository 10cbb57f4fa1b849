// Checks of the arguments that come from Python, and the text of every failure: the argument's name, what
// was expected and what was given. TypeError is for what a thing is (not an array, wrong dtype or byte
// order), ValueError for its shape, memory layout, alignment, writability or overlap.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <sstream>
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

// The message of every refusal. `name` is the argument, or the kernel where several arguments disagree.
inline std::string expected(const std::string& name, const std::string& what, const std::string& got) {
  return name + ": expected " + what + ", got " + got;
}

inline std::string type_name(const py::object& value) {
  return py::str(py::type::of(value).attr("__name__"));
}

template <class T>
std::string dtype_name() {
  return py::str(py::dtype::of<T>().attr("name"));
}

// A dtype as NumPy writes it, byte order included: "<f4".
inline std::string dtype_text(const py::array& a) {
  return py::str(a.dtype().attr("str"));
}

inline py::array any_array(const char* name, const py::object& value) {
  if (!py::isinstance<py::array>(value)) {
    throw py::type_error(expected(name, "a NumPy array", type_name(value)));
  }
  return py::reinterpret_borrow<py::array>(value);
}

// Whether the elements are of type T and in this machine's byte order.
template <class T>
bool holds(const py::array& a) {
  return a.dtype().equal(py::dtype::of<T>());
}

// The failures that NumPy arrays and arrays on a GPU share; `dtype` and `got` are texts.
[[noreturn]] inline void refuse_dtype(const char* name, const std::string& dtype, const std::string& got) {
  throw py::type_error(expected(name, dtype + " in native byte order", got));
}
[[noreturn]] inline void refuse_shape(const char* name, const Shape& shape, const Shape& got) {
  throw py::value_error(expected(name, "shape " + to_text(shape), to_text(got)));
}
[[noreturn]] inline void refuse_strides(const char* name, const Shape& shape, const Shape& strides) {
  throw py::value_error(
      expected(name, "a C-contiguous array", "strides " + to_text(strides) + " for shape " + to_text(shape)));
}
[[noreturn]] inline void refuse_read_only(const char* name) {
  throw py::value_error(expected(name, "a writable array", "a read-only one"));
}
inline void require_aligned(const char* name, const void* data, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(data) % bytes == 0) return;
  std::ostringstream address;
  address << data;
  throw py::value_error(
      expected(name, "memory aligned to " + std::to_string(bytes) + " bytes", "address " + address.str()));
}

// Whether `got` has this shape; kAny matches any extent.
inline bool matches(const Shape& shape, const Shape& got) {
  return std::equal(shape.begin(), shape.end(), got.begin(), got.end(),
                    [](auto wanted, auto extent) { return wanted == kAny || wanted == extent; });
}

template <class T>
void require_dtype(const char* name, const py::array& a) {
  if (!holds<T>(a)) refuse_dtype(name, dtype_name<T>(), dtype_text(a));
}

// An array of T in C order, and of the given shape where there is one.
template <class T>
py::array array_arg(const char* name, const py::object& value, const Shape* shape = nullptr) {
  py::array a = any_array(name, value);
  require_dtype<T>(name, a);
  if (shape && !matches(*shape, shape_of(a))) refuse_shape(name, *shape, shape_of(a));
  if (!(a.flags() & py::array::c_style)) {
    refuse_strides(name, shape_of(a), Shape(a.strides(), a.strides() + a.ndim()));
  }
  require_aligned(name, a.data(), alignof(T));
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

// The shape, if it has `dimensions` dimensions.
inline Shape with_dimensions(const char* name, const Shape& shape, std::size_t dimensions) {
  if (shape.size() != dimensions) {
    throw py::value_error(
        expected(name, std::to_string(dimensions) + " dimensions", "shape " + to_text(shape)));
  }
  return shape;
}
inline Shape shape_with(const char* name, const py::object& value, std::size_t dimensions) {
  return with_dimensions(name, shape_of(any_array(name, value)), dimensions);
}

// negative_elbo takes the means of rec (R,) and kl (K,).
inline void require_means(const Shape& rec, const Shape& kl) {
  if (rec[0] > 0 && kl[0] > 0) return;
  throw py::value_error(expected("negative_elbo", "at least one element in rec and in kl",
                                 "rec " + to_text(rec) + " and kl " + to_text(kl)));
}

// The data of an array that the kernel changes in place.
template <class T>
T* in_place(const char* name, const py::object& value, const Shape& shape) {
  py::array a = array_arg<T>(name, value, &shape);
  if (!a.writeable()) refuse_read_only(name);
  return static_cast<T*>(a.mutable_data());
}

// A new array in C order. A large one reuses the memory of an earlier one that has been freed.
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
      throw py::value_error(
          expected(written.name, "memory of its own", std::string("memory that overlaps ") + other.name));
    }
  }
}

// Calls run(T()) with the dtype of an array: float or double.
template <class Run>
auto by_dtype(const char* name, const py::object& value, Run run) {
  py::array a = any_array(name, value);
  if (holds<float>(a)) return run(float());
  if (holds<double>(a)) return run(double());
  refuse_dtype(name, "float32 or float64", dtype_text(a));
}

inline void require_at_least(const char* name, Index least, Index value) {
  if (value >= least) return;
  throw py::value_error(expected(name, "at least " + std::to_string(least), std::to_string(value)));
}

inline void require_one_length(const py::sequence& params, const py::sequence& grads, const py::sequence& ms,
                               const py::sequence& vs) {
  const std::size_t p = params.size(), g = grads.size(), m = ms.size(), v = vs.size();
  if (g == p && m == p && v == p) return;
  throw py::value_error(expected(
      "adam", "params, grads, ms and vs of one length",
      std::to_string(p) + ", " + std::to_string(g) + ", " + std::to_string(m) + " and " + std::to_string(v)));
}

// The statistics of batch normalisation: both given, or both None.
inline void require_both_or_none(const py::object& mean, const py::object& var) {
  if (mean.is_none() == var.is_none()) return;
  throw py::value_error(expected("batch_norm_forward", "mean and var, or None for both",
                                 type_name(mean) + " and " + type_name(var)));
}

}  // namespace minivae
