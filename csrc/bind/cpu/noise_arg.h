// The noise that a kernel takes from Python. minivae/kernels/cpu.py states its forms.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "bind/array_args.h"
#include "math/philox.h"

namespace minivae {

inline NoiseKey noise_key(const py::object& noise) {
  try {
    const auto [seed, offset, first] = noise.cast<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>>();
    return {seed, offset, first};
  } catch (const py::cast_error&) {
    throw py::type_error(expected(
        "noise", "a NumPy array or three integers (seed, offset, first) in [0, 2^64)", py::repr(noise)));
  }
}

// Noise is an array of the given shape, or (seed, offset, first): then eps is null and key() gives the stream. A
// fourth member, an array of one number, is added to the offset when the kernel runs.
template <class T>
struct NoiseArg {
  const T* eps = nullptr;
  NoiseKey base{};
  py::object array = py::none();  // of the numbers or of the counter

  NoiseArg(const py::object& noise, const Shape& shape) {
    if (py::isinstance<py::array>(noise)) {
      array = noise;
      eps = input<T>("noise", noise, shape);
    } else if (py::isinstance<py::tuple>(noise) && py::len(noise) == 4 &&
               py::isinstance<py::array>(py::tuple(noise)[3])) {
      const py::tuple parts = noise;
      base = noise_key(py::make_tuple(parts[0], parts[1], parts[2]));
      array = parts[3];
    } else {
      base = noise_key(noise);
    }
  }
  auto key() const {
    const bool counted = !eps && !array.is_none();
    const std::uint64_t* moved = counted ? input<std::uint64_t>("counter", array, {1}) : nullptr;
    return
        [base = base, moved] { return NoiseKey{base.seed, base.offset + (moved ? *moved : 0), base.first}; };
  }
};

}  // namespace minivae
