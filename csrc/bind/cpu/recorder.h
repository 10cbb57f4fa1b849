// How a binding makes its kernel's call and its results, so that a tape can record both.
#pragma once

#include <memory>
#include <vector>

#include "bind/array_args.h"
#include "bind/cpu/without_gil.h"
#include "cpu/tape.h"

namespace minivae {

// A tape as Python holds it.
struct Recorder {
  Tape tape;
  std::shared_ptr<TapeMemory> memory = std::make_shared<TapeMemory>();
  std::vector<py::object> kept;  // arrays from outside that the calls read or write
};

// The one with which this thread records, or null. Nothing is computed meanwhile, as on a GPU.
inline thread_local Recorder* recorder = nullptr;

// Makes a kernel's call without Python's lock; while this thread records, writes it on the tape instead. The call
// copies what it captures, and `arrays` are all whose memory it uses; None stands for none.
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

// A fresh array in C order for a kernel's result.
template <class T>
py::array_t<T> result(const Shape& shape) {
  if (!recorder) return output<T>(shape);
  struct Lease {
    std::shared_ptr<TapeMemory> memory;
    void* block;
  };
  void* block = recorder->memory->take(static_cast<std::size_t>(count(shape)) * sizeof(T));
  const py::capsule owner(new Lease{recorder->memory, block}, [](void* pointer) {
    const std::unique_ptr<Lease> lease(static_cast<Lease*>(pointer));
    lease->memory->give(lease->block);
  });
  return py::array_t<T>(shape, static_cast<T*>(block), owner);
}

}  // namespace minivae
