// The class Tape: a training step's kernel calls, recorded once and made again.
#include "bind/cpu/modules.h"
#include "bind/cpu/recorder.h"

namespace minivae {
namespace {

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
    throw py::index_error("expected 0 <= first <= last <= " + std::to_string(self.tape.size()) + ", got " +
                          std::to_string(first) + " and " + std::to_string(last));
  }
  without_gil([&] { self.tape.replay(first, last); });
}

}  // namespace

void bind_tape(py::module_& module) {
  py::class_<Recorder>(module, "Tape", "Kernel calls of one thread, recorded to be made again.")
      .def(py::init<>())
      .def("start", &start,
           "Write down every kernel that this thread calls from now on, and run none of them.")
      .def("stop", &stop)
      .def("__len__", [](const Recorder& self) { return self.tape.size(); })
      .def("replay", &replay, py::arg("first"), py::arg("last"), "Make calls number first to last - 1 again.")
      .def(
          "owns", [](const Recorder& self, const py::array& a) { return self.memory->owns(a.data()); },
          "Whether an array lies in the tape's memory.")
      .def_property_readonly("bytes", [](const Recorder& self) { return self.memory->bytes(); });
}

}  // namespace minivae
