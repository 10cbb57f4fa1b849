// The class Tape: a training step's kernel calls, recorded once and made again.
#include <cmath>

#include "bind/cpu/modules.h"
#include "bind/cpu/recorder.h"

namespace minivae {
namespace {

py::object numpy_array() {
  return py::module_::import("numpy").attr("ndarray");
}

void start(Recorder& self) {
  if (recorder) throw std::runtime_error("a tape is being recorded in this thread already");
  recorder = &self;
}

void stop(Recorder& self) {
  if (recorder != &self) throw std::runtime_error("this tape is not being recorded in this thread");
  recorder = nullptr;
}

void replay(const Recorder& self, std::size_t first, std::size_t last) {
  if (first > last || last > self.tape.size()) {
    throw py::index_error(expected("replay", "0 <= first <= last <= " + std::to_string(self.tape.size()),
                                   std::to_string(first) + " and " + std::to_string(last)));
  }
  without_gil([&] { self.tape.replay(first, last); });
}

py::array empty(const Recorder& self, const py::tuple& sizes, const py::dtype& dtype) {
  Shape shape;
  for (const py::handle& size : sizes) shape.push_back(size.cast<py::ssize_t>());
  if (dtype.equal(py::dtype::of<float>())) return leased<float>(self, shape);
  if (dtype.equal(py::dtype::of<double>())) return leased<double>(self, shape);
  refuse_dtype("dtype", "float32 or float64", py::str(dtype.attr("str")));
}

py::array alias(const Recorder& self, const py::array& a) {
  if (!self.memory->owns(a.data())) return py::reinterpret_borrow<py::array>(a.attr("view")(numpy_array()));
  using Owner = std::shared_ptr<TapeMemory>;
  const py::capsule owner(new Owner(self.memory), [](void* pointer) { delete static_cast<Owner*>(pointer); });
  return py::array(a.dtype(), shape_of(a), Shape(a.strides(), a.strides() + a.ndim()), a.data(), owner);
}

}  // namespace

void bind_tape(py::module_& module) {
  py::class_<Recorder>(module, "Tape", "Kernel calls of one thread, recorded to be made again.")
      .def(py::init([](const py::object& type, double value) {
             return std::make_unique<Recorder>(type.is_none() ? numpy_array() : type, value);
           }),
           py::arg("array_type") = py::none(), py::arg("value") = std::nan(""),
           "Results of kernels that are recorded are of this subclass of NumPy's array, and full of this "
           "value.")
      .def("start", &start,
           "Write down every kernel that this thread calls from now on, and run none of them.")
      .def("stop", &stop)
      .def("__len__", [](const Recorder& self) { return self.tape.size(); })
      .def("replay", &replay, py::arg("first"), py::arg("last"), "Make calls number first to last - 1 again.")
      .def(
          "owns", [](const Recorder& self, const py::array& a) { return self.memory->owns(a.data()); },
          "Whether an array lies in the tape's memory.")
      .def("empty", &empty, py::arg("shape"), py::arg("dtype"),
           "An array in the tape's memory, which serves a later one when nobody refers to it any more.")
      .def("alias", &alias, py::arg("array"),
           "The same elements as a plain array that does not keep their memory from a later use.")
      .def_property_readonly("bytes", [](const Recorder& self) { return self.memory->bytes(); });
}

}  // namespace minivae
