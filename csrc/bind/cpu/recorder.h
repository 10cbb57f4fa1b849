// Runs a kernel's call and allocates its results, or records both on a tape (cpu/tape.h).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "bind/array_args.h"
#include "bind/cpu/without_gil.h"
#include "cpu/tape.h"

namespace minivae {

// A tape as Python holds it.
struct Recorder {
  Recorder(py::object type, double value) : array_type(std::move(type)), value(value) {}
  Tape tape;
  std::shared_ptr<TapeMemory> memory = std::make_shared<TapeMemory>();
  std::vector<py::object> kept;  // arrays from outside that the calls read or write
  py::object array_type;         // of the results, a subclass of NumPy's array
  double value;                  // what the results hold until they are computed
};

// The recorder of this thread, or null while the thread does not record. As in the capture of a CUDA graph,
// kernels are not run while they are recorded.
inline thread_local Recorder* recorder = nullptr;

// Makes a kernel's call without Python's lock; while this thread records, writes it on the tape instead. The call
// copies what it captures. `arrays` are all the arrays whose memory it uses; None counts as no array.
template <class Arrays, class Call>
void launch(const Arrays& arrays, Call call) {
  if (!recorder) return without_gil(call);
  for (const py::object& array : arrays) {
    if (array.is_none()) continue;
    const void* data = py::reinterpret_borrow<py::array>(array).data();
    if (!recorder->memory->owns(data)) recorder->kept.push_back(array);
  }
  recorder->tape.add(std::move(call));
}

template <class Call>
void launch(std::initializer_list<py::object> arrays, Call call) {
  launch<std::initializer_list<py::object>>(arrays, std::move(call));
}

// A new array in the recorder's memory, which is free for a later array when this one is deleted. It is filled
// with one value, so that who reads it before a replay finds that value and not old contents that look right.
template <class T>
py::array_t<T> leased(const Recorder& recorder, const Shape& shape) {
  struct Lease {
    std::shared_ptr<TapeMemory> memory;
    void* block;
  };
  const std::size_t bytes = static_cast<std::size_t>(count(shape)) * sizeof(T);
  void* block = recorder.memory->take(bytes);
  std::fill_n(static_cast<T*>(block), count(shape), static_cast<T>(recorder.value));
  const py::capsule owner(new Lease{recorder.memory, block}, [](void* pointer) {
    const std::unique_ptr<Lease> lease(static_cast<Lease*>(pointer));
    lease->memory->give(lease->block);
  });
  const py::array_t<T> array(shape, static_cast<T*>(block), owner);
  return py::reinterpret_steal<py::array_t<T>>(array.attr("view")(recorder.array_type).release());
}

// A fresh array in C order for a kernel's result.
template <class T>
py::array_t<T> result(const Shape& shape) {
  return recorder ? leased<T>(*recorder, shape) : output<T>(shape);
}

}  // namespace minivae
