// _cuda_emulated.emulator: streams, graphs and the order of threads, for tests.
#include <pybind11/functional.h>

#include <functional>
#include <string>
#include <utility>

#include "bind/cuda/device_array_args.h"
#include "bind/cuda/modules.h"
#include "cuda/divisor.h"
#include "emulated/block.h"
#include "emulated/runtime.h"
#include "cuda/launch_geometry.h"

namespace minivae {

namespace {

// Launch geometry as plain numbers.
void bind_geometry(py::module_& module) {
  py::module_ m = module.def_submodule("geometry", "csrc/cuda/launch_geometry.h.");
  const auto pair = [](const Grid& grid) { return std::make_pair(grid.blocks, grid.threads); };
  m.def("over_elements",
        [=](Index count, int each, int threads) { return pair(over_elements(count, each, threads)); });
  m.def("block_per_row", [=](Index rows, int threads) { return pair(block_per_row(rows, threads)); });
  m.def("lanes_per_row",
        [=](Index rows, int lanes, int threads) { return pair(lanes_per_row(rows, lanes, threads)); });
  m.def("lanes_for_quads", &lanes_for_quads);
  m.def("quads_touched", &quads_touched);
  m.def("exponent_of", &exponent_of);
  m.def("quads_of_row", [](Index row, Index columns) {
    const Quads quads = quads_of_row(row, columns);
    return std::make_pair(quads.first, quads.last);
  });
  m.def("part_in_row", [](Index quad, Index row, Index columns) {
    const QuadPart part = part_in_row(quad, row, columns);
    return std::make_pair(part.begin, part.end);
  });
  m.def("divide", [](Index n, Index d) {
    const QuotientRest result = divide(n, Divisor(d));
    return std::make_pair(result.quotient, result.rest);
  });
}

}  // namespace

void bind_emulator(py::module_& module) {
  using namespace emulated;
  py::module_ m = module.def_submodule("emulator", "The CPU in place of a GPU.");
  py::register_exception<EmulationError>(m, "EmulationError", PyExc_RuntimeError);
  m.def("create_stream", [] { return reinterpret_cast<std::uintptr_t>(create_stream()); });
  m.def("destroy_stream", [](std::uintptr_t stream) { destroy_stream(stream_of(stream)); });
  m.def("begin_capture", [](std::uintptr_t stream) { begin_capture(stream_of(stream)); });
  m.def("end_capture", [](std::uintptr_t stream) { return end_capture(stream_of(stream)); });
  m.def(
      "record",
      [](std::uintptr_t stream, std::function<void()> work) { enqueue(stream_of(stream), std::move(work)); },
      "Call a function in the stream's order: now, or each time the graph being captured is launched.");
  py::class_<Graph>(m, "Graph")
      .def("launch",
           [](const Graph& graph, std::uintptr_t stream) { launch_graph(graph, stream_of(stream)); })
      .def_property_readonly("nodes", [](const Graph& graph) { return graph.nodes.size(); });
  m.def(
      "set_order",
      [](const std::string& name, std::uint64_t seed) {
        if (name != "forward" && name != "backward" && name != "shuffled") {
          throw py::value_error(expected("order", "forward, backward or shuffled", name));
        }
        set_order(name == "forward"    ? Order::kForward
                  : name == "backward" ? Order::kBackward
                                       : Order::kShuffled,
                  seed);
      },
      py::arg("order"), py::arg("seed") = 0);
  m.def("only_blocks", &only_blocks,
        "Run only these blocks of every grid; a negative first counts from the end.");
  m.def("all_blocks", &all_blocks);
  bind_geometry(m);
}

}  // namespace minivae
