// The module minivae._cpu: the compiled CPU kernels and the choice of an instruction set.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bind/cpu/modules.h"
#include "bind/interface.h"
#include "cpu/heap.h"
#include "cpu/table.h"

namespace py = pybind11;

PYBIND11_MODULE(_cpu, module) {
  using namespace minivae;
  module.doc() = "Compiled CPU kernels. minivae.kernels.cpu calls them.";
  module.attr("INTERFACE") = kInterface;
  module.attr("compiler") = __VERSION__;
  keep_freed_memory();
  table();  // a MINIVAE_ISA that cannot be honoured fails the import
  module.def("isa", [] { return std::string(table().isa); }, "The instruction set in use.");
  module.def(
      "isas",
      [] {
        int count = 0;
        const Table* const* tables = usable_tables(&count);
        std::vector<std::string> names;
        for (int i = 0; i < count; ++i) names.emplace_back(tables[i]->isa);
        return names;
      },
      "The instruction sets this machine can run, best last.");
  module.def(
      "use_isa", [](const std::string& isa) { use_table(isa.c_str()); }, py::arg("isa"),
      "Choose the instruction set by name, for the whole process.");
  bind_arithmetic(module);
  bind_conv(module);
  bind_elementary(module);
  bind_layers(module);
  bind_losses(module);
  bind_matmul(module);
  bind_noise(module);
  bind_parallel(module);
  bind_reparam_kl(module);
  bind_tape(module);
  bind_training(module);
}
