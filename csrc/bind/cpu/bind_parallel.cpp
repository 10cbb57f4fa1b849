// Python's view of the thread pool, and a function for tests that shows what parallel_for visits.
#include <pybind11/numpy.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind/cpu/modules.h"
#include "bind/cpu/without_gil.h"
#include "cpu/parallel.h"

namespace py = pybind11;

namespace minivae {
namespace {

// How often parallel_for(n, grain) visits each index, when every range opens `depth` - 1 loops of its own over
// the same indices. Throws std::out_of_range from the range that holds the index `fail`.
py::array_t<std::int64_t> parallel_visits(Index n, Index grain, int depth, Index fail) {
  std::vector<std::atomic<std::int64_t>> visits(static_cast<std::size_t>(n > 0 ? n : 0));
  without_gil([&] {
    const auto visit = [&](const auto& self, Index begin, Index end, int level) -> void {
      if (begin <= fail && fail < end) throw std::out_of_range("visited " + std::to_string(fail));
      for (Index i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      if (level < depth) {
        parallel_for(end - begin, grain,
                     [&](Index first, Index last) { self(self, begin + first, begin + last, level + 1); });
      }
    };
    parallel_for(n, grain, [&](Index begin, Index end) { visit(visit, begin, end, 1); });
  });
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(visits.size()));
  for (std::size_t i = 0; i < visits.size(); ++i) out.mutable_at(i) = visits[i];
  return out;
}

}  // namespace

void bind_parallel(py::module_& module) {
  module.def("threads", &threads, "Threads a kernel may use, the caller's included.");
  module.attr("MOST_THREADS") = kMostThreads;
  module.def("set_threads", &set_threads, py::arg("count"));
  module.def("parallel_visits", &parallel_visits, py::arg("n"), py::arg("grain"), py::arg("depth") = 1,
             py::arg("fail") = -1);
}

}  // namespace minivae
